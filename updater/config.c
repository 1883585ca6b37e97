/* SPDX-License-Identifier: MIT */

/* Six places, one Config: the vendor's file and drop-ins, the operator's, and what was put into /run for this boot only.
 * Objects merge field by field, arrays and values replace, so that an operator states just what differs. */

#include "config.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>

#define CONFIG_FILE_MAX (256u * 1024u) /* hand-written; a page is long */

void config_done(Config *c)
{
        free(c->product);
        free(c->channel);
        free(c->esp);
        free(c->version_path);
        free(c->version_key);
        free(c->source_type);
        free(c->source_url);
        free(c->omaha_app);
        free(c->omaha_track);
        free(c->omaha_alias);
        free(c->omaha_oem);
        free(c->report_url);
        free(c->report_bearer_file);
        slot_config_done(&c->slots);
        fetch_options_done(&c->http);
        health_config_done(&c->health);
        *c = (Config){ 0 };
}

static int merge_file(int dir_fd, const char *name, const char *what, Json *merged, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        r = file_read(dir_fd, name, CONFIG_FILE_MAX, &b);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", what);
        r = json_parse(b.data ? (const void *) b.data : "", b.size, JSON_COMMENTS, JSON_DEPTH_MAX, what,
                       WHY_USAGE, &j, why);
        if (r >= 0 && !json_is_object(j))
                r = fail(why, -EINVAL, WHY_USAGE, "bad-config", "%s: not a JSON object", what);
        if (r < 0)
                return r == -ENOMEM ? r : 0; /* said in *why, left out */
        json_merge(merged, j);
        return 0;
}

static int merge_place(const Env *env, const char *place, Json *merged, Why *why)
{
        _cleanup_(close_fdp) int fd = env_open_dir(env, place), d_fd = -1;
        _cleanup_(free_charp) char *main_file = str_printf("%s/gybe.json", place);
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        if (!main_file)
                return -ENOMEM;
        if (fd == -ENOENT)
                return 0;
        if (fd < 0)
                return fail_errno(why, fd, WHY_HOST, "%s", place);
        r = merge_file(fd, "gybe.json", main_file, merged, why);
        if (r < 0)
                return r;
        d_fd = dir_open(fd, "gybe.d");
        if (d_fd == -ENOENT)
                return 0;
        r = d_fd < 0 ? d_fd : dir_list(d_fd, ".", &names);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s/gybe.d", place);
        for (char **n = names; *n; n++) {
                _cleanup_(free_charp) char *what = str_printf("%s/gybe.d/%s", place, *n);

                if (!what)
                        return -ENOMEM;
                if (!str_ends(*n, ".json"))
                        continue;
                r = merge_file(d_fd, *n, what, merged, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A member that must be a string when it is there. */
static int take_str(const Json *object, const char *key, const char *what, const char *fallback, char **ret,
                    Why *why)
{
        const Json *j = json_get(object, key);
        const char *s = j ? json_str(j) : fallback;

        if (j && !s)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config", "gybe.json: %s must be a string", what);
        if (!s)
                return 0;
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static int take_section(const Json *root, const char *key, const Json **ret, Why *why)
{
        const Json *j = json_get(root, key);

        if (j && !json_is_object(j))
                return fail(why, -EINVAL, WHY_USAGE, "bad-config", "gybe.json: %s must be an object", key);
        *ret = j;
        return 0;
}

static int take_selector(const Json *slot, const char *slot_key, const char *part, bool needed,
                         SlotSelector *ret, Why *why)
{
        const Json *j = json_get(slot, part);
        int r;

        if (!j && !needed)
                return 0;
        r = take_str(j, "label", "a slot's label", NULL, &ret->label, why);
        if (r >= 0)
                r = take_str(j, "partuuid", "a slot's partuuid", NULL, &ret->partuuid, why);
        if (r < 0)
                return r;
        if (!ret->label && !ret->partuuid)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: disk.slots.%s.%s needs a \"label\" or a \"partuuid\"", slot_key,
                            part);
        return 0;
}

static int take_disk(const Json *root, SlotConfig *ret, Why *why)
{
        _cleanup_(free_charp) char *layout = NULL;
        const Json *disk;
        int r;

        r = take_section(root, "disk", &disk, why);
        if (r >= 0)
                r = take_str(disk, "layout", "disk.layout", "acl", &layout, why);
        if (r < 0)
                return r;
        if (streq(layout, "acl"))
                ret->kind = SLOT_LAYOUT_ACL;
        else if (streq(layout, "flatcar"))
                ret->kind = SLOT_LAYOUT_FLATCAR;
        else if (streq(layout, "custom"))
                ret->kind = SLOT_LAYOUT_CUSTOM;
        else
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: disk.layout is \"%s\"; it must be acl, flatcar or custom", layout);
        if (ret->kind != SLOT_LAYOUT_CUSTOM)
                return 0;
        for (SlotId s = 0; s < _SLOT_MAX; s++) {
                const Json *slot = json_get(json_get(disk, "slots"), slot_name(s));

                r = take_selector(slot, slot_name(s), "data", true, &ret->custom[s].data, why);
                if (r >= 0)
                        r = take_selector(slot, slot_name(s), "hash", false, &ret->custom[s].hash, why);
                if (r >= 0)
                        r = take_selector(slot, slot_name(s), "sig", false, &ret->custom[s].sig, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A fleet that asks more often than this is a load test; one that asks less often than this has been forgotten. */
#define INTERVAL_MIN     10u
#define INTERVAL_MAX     (30u * 24 * 3600)
#define INTERVAL_DEFAULT 3600u

static int take_interval(const Json *source, Config *c, Why *why)
{
        uint64_t v = INTERVAL_DEFAULT;
        int r = json_get_duration(source, "interval", &v);

        c->source_interval = INTERVAL_DEFAULT;
        if (r < 0 || v < INTERVAL_MIN || v > INTERVAL_MAX)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: source.interval must be a duration from \"10s\" to \"30d\"");
        c->source_interval = v;
        return 0;
}

/* Read whatever the source is: an orchestrator may name an update server with each of its requests. */
static int take_omaha(const Json *source, Config *c, Why *why)
{
        _cleanup_(free_charp) char *hash = NULL;
        int r;

        if ((r = take_str(source, "appId", "source.appId", NULL, &c->omaha_app, why)) < 0 ||
            (r = take_str(source, "track", "source.track", NULL, &c->omaha_track, why)) < 0 ||
            (r = take_str(source, "alias", "source.alias", NULL, &c->omaha_alias, why)) < 0 ||
            (r = take_str(source, "oem", "source.oem", NULL, &c->omaha_oem, why)) < 0 ||
            (r = take_str(source, "packageHash", "source.packageHash", "ignore", &hash, why)) < 0)
                return r;
        if (c->omaha_alias && strlen(c->omaha_alias) > OMAHA_ALIAS_MAX)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: source.alias is longer than the %u bytes that an update server keeps",
                            OMAHA_ALIAS_MAX);
        c->omaha_hash = omaha_hash_from_name(hash);
        if (c->omaha_hash < 0) {
                c->omaha_hash = OMAHA_HASH_METADATA_SHA384; /* the stricter one, until it is mended */
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: source.packageHash is \"%s\"; it must be ignore or metadata-sha384",
                            hash);
        }
        return 0;
}

static int take_source(const Json *root, Config *c, Why *why)
{
        _cleanup_(free_charp) char *type = NULL;
        const Json *source;
        int r;

        r = take_section(root, "source", &source, why);
        if (r >= 0)
                r = take_interval(source, c, why);
        if (r >= 0)
                r = take_str(source, "type", "source.type", "none", &type, why);
        if (r >= 0)
                r = take_str(source, "url", "source.url", NULL, &c->source_url, why);
        if (r >= 0)
                r = take_omaha(source, c, why);
        if (r < 0)
                return r;
        if (streq(type, "none"))
                c->source = SOURCE_NONE;
        else if (streq(type, "feed"))
                c->source = SOURCE_FEED;
        else if (streq(type, "oci"))
                c->source = SOURCE_OCI;
        else if (streq(type, "omaha"))
                c->source = SOURCE_OMAHA;
        else if (streq(type, "ostree"))
                c->source = SOURCE_OSTREE;
        else
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: source.type \"%s\" is not known to gybe " GYBE_VERSION, type);
        if (c->source != SOURCE_NONE && !c->source_url)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: source.type is \"%s\" but source.url is missing", type);
        if (c->source == SOURCE_OMAHA && !c->omaha_app)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: source.type is \"omaha\" but source.appId is missing");
        c->source_type = TAKE(type);
        return 0;
}

static int take_trust(const Json *root, Config *c, Why *why)
{
        const Json *trust, *require;
        int r;

        c->require = TRUST_RELEASE;
        r = take_section(root, "trust", &trust, why);
        if (r < 0)
                return r;
        require = json_get(trust, "require");
        if (!require)
                return 0;
        if (!json_is_array(require) || json_len(require) == 0)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: trust.require must list at least one of \"release\", \"secureboot\" "
                            "and \"server\"");
        c->require = 0;
        c->require_configured = true;
        json_foreach (item, require) {
                const char *s = json_str(item);

                if (streq0(s, "release"))
                        c->require |= TRUST_RELEASE;
                else if (streq0(s, "secureboot"))
                        c->require |= TRUST_SECUREBOOT;
                else if (streq0(s, "server"))
                        c->require |= TRUST_SERVER;
                else
                        return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                                    "gybe.json: trust.require names \"%s\", which gybe " GYBE_VERSION
                                    " cannot check; nothing is accepted",
                                    s ? s : "?");
        }
        return 0;
}

/* Shorter, and every busy server is given up; longer, and a dead one holds the host for hours. */
#define STALL_MAX 3600u

static int take_stall_timeout(const Json *http, FetchOptions *o, Why *why)
{
        uint64_t v = 0;
        int r = json_get_duration(http, "stallTimeout", &v);

        if (r == 0)
                return 0;
        if (r < 0 || v == 0 || v > STALL_MAX)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: http.stallTimeout must be a duration from \"1s\" to \"1h\"");
        o->stall_timeout_sec = v;
        return 0;
}

static int take_http(const Json *root, FetchOptions *o, Why *why)
{
        const Json *http;
        int r;

        r = take_section(root, "http", &http, why);
        if (r >= 0)
                r = take_str(http, "ca", "http.ca", NULL, &o->ca, why);
        if (r >= 0)
                r = take_str(http, "certificate", "http.certificate", NULL, &o->certificate, why);
        if (r >= 0)
                r = take_str(http, "key", "http.key", NULL, &o->key, why);
        if (r >= 0)
                r = take_str(http, "bearerFile", "http.bearerFile", NULL, &o->bearer_file, why);
        if (r >= 0)
                r = take_str(http, "proxy", "http.proxy", NULL, &o->proxy, why);
        return r < 0 ? r : take_stall_timeout(http, o, why);
}

static int take_oci(const Json *root, FetchOptions *o, Why *why)
{
        const Json *oci;
        int r = take_section(root, "oci", &oci, why);

        return r < 0 ? r : take_str(oci, "authFile", "oci.authFile", NULL, &o->oci_auth_file, why);
}

static int take_image(const Json *root, Config *c, Why *why)
{
        uint64_t log = COSI_WINDOW_DEFAULT;
        const Json *image;
        int r = take_section(root, "image", &image, why);

        c->max_window_log = COSI_WINDOW_DEFAULT;
        if (r < 0)
                return r;
        r = json_get_u64(image, "maxWindowLog", &log);
        if (r < 0 || log < 10 || log > COSI_WINDOW_LIMIT)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: image.maxWindowLog must be from 10 to %u", COSI_WINDOW_LIMIT);
        c->max_window_log = (unsigned) log;
        return 0;
}

static int take_names(const Json *root, Config *c, Why *why)
{
        const Json *version = NULL;
        int r;

        if ((r = take_str(root, "product", "product", NULL, &c->product, why)) < 0 ||
            (r = take_str(root, "channel", "channel", "stable", &c->channel, why)) < 0 ||
            (r = take_section(root, "version", &version, why)) < 0)
                return r;
        return 0;
}

static int take_places(const Json *root, Config *c, Why *why)
{
        const Json *version = json_get(root, "version");
        int r = take_str(root, "esp", "esp", "/boot", &c->esp, why);

        if (r >= 0)
                r = take_str(version, "path", "version.path", "/etc/os-release", &c->version_path, why);
        return r < 0 ? r : take_str(version, "key", "version.key", "VERSION_ID", &c->version_key, why);
}

static int take_compat(const Json *root, Config *c, Why *why)
{
        const Json *compat;
        int r = take_section(root, "compat", &compat, why);

        if (r >= 0 && json_get_bool(compat, "coreosUpdate1", &c->compat_coreos_update1) < 0)
                r = fail(why, -EINVAL, WHY_USAGE, "bad-config",
                         "gybe.json: compat.coreosUpdate1 must be true or false");
        return r;
}

static int take_boot_loader(const Json *root, Config *c, Why *why)
{
        _cleanup_(free_charp) char *name = NULL;
        int r = take_str(root, "bootloader", "bootloader", "auto", &name, why);

        if (r < 0)
                return r;
        if (boot_loader_from_name(name) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "bad-config",
                            "gybe.json: bootloader is \"%s\"; it must be auto, sdboot or gptprio", name);
        c->boot_loader = boot_loader_from_name(name);
        return 0;
}

static int take_health(const Json *root, Config *c, Why *why)
{
        int r = health_config_parse(json_get(root, "health"), &c->health, why);

        c->health_lost = r < 0;
        return r;
}

/* That the address is one to send to is judged where something is sent: a report keeps no update from being made. */
static int take_report(const Json *root, Config *c, Why *why)
{
        const Json *report;
        int r = take_section(root, "report", &report, why);

        if (r >= 0)
                r = take_str(report, "url", "report.url", NULL, &c->report_url, why);
        return r < 0 ? r
                     : take_str(report, "bearerFile", "report.bearerFile", NULL, &c->report_bearer_file, why);
}

/* Each part stands alone: a mistake in one is said, and that part keeps its defaults. */
static int take_all(const Json *root, Config *c, Why *why)
{
        const int results[] = {
                take_names(root, c, why),        take_places(root, c, why),
                take_disk(root, &c->slots, why), take_source(root, c, why),
                take_trust(root, c, why),        take_http(root, &c->http, why),
                take_image(root, c, why),        take_health(root, c, why),
                take_report(root, c, why),       take_oci(root, &c->http, why),
                take_boot_loader(root, c, why),  take_compat(root, c, why),
        };

        /* The token is for the configured source and for nobody an operator may name on a command line. */
        if ((c->http.bearer_file || c->http.oci_auth_file) && c->source_url &&
            !(c->http.bearer_origin = strdup(c->source_url)))
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(results); i++)
                if (results[i] == -ENOMEM)
                        return -ENOMEM;
        if ((!c->channel && !(c->channel = strdup("stable"))) || (!c->esp && !(c->esp = strdup("/boot"))) ||
            (!c->version_path && !(c->version_path = strdup("/etc/os-release"))) ||
            (!c->version_key && !(c->version_key = strdup("VERSION_ID"))))
                return -ENOMEM;
        return 0;
}

int config_load(const Env *env, Config *ret, Why *why)
{
        static const char *const places[] = { "/usr/lib/gybe", "/etc/gybe", "/run/gybe" };
        _cleanup_(json_unrefp) Json *merged = json_new_object();
        _cleanup_(config_done) Config c = { 0 };
        int r;

        if (!merged)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                r = merge_place(env, places[i], merged, why);
                if (r < 0)
                        return r;
        }
        r = take_all(merged, &c, why);
        if (r < 0)
                return r;
        *ret = c;
        c = (Config){ 0 };
        return 0;
}
