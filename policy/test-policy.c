/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "policy/policy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse(Policy *p, const char *text)
{
        return policy_parse(text, strlen(text), "test", p, NULL);
}

/* --- the cases that the JSON schema is held to, too --- */

static Json *read_cases(void)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Json *j = NULL;

        assert(file_read(AT_FDCWD, GYBE_SOURCE_DIR "/integration-tests/fixtures/policy-cases.json", 1 << 20,
                         &b) >= 0);
        assert(json_parse(b.data, b.size, JSON_FRACTIONS, JSON_DEPTH_MAX, "cases", WHY_USAGE, &j, NULL) >= 0);
        return j;
}

static void test_cases(void)
{
        _cleanup_(json_unrefp) Json *cases = read_cases();
        size_t n = 0;

        json_foreach (good, json_get(cases, "good")) {
                _cleanup_(free_charp) char *text = json_format(good, false);
                _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
                Why why = { 0 };

                if (policy_parse(text, strlen(text), "good", &p, &why) < 0) {
                        (void) fprintf(stderr, "%s: %s\n", text, why.text);
                        assert(false);
                }
                n++;
        }
        json_foreach (bad, json_get(cases, "bad")) {
                _cleanup_(free_charp) char *text = json_format(json_get(bad, "policy"), false);
                _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
                Why why = { 0 };

                if (policy_parse(text, strlen(text), "bad", &p, &why) >= 0) {
                        (void) fprintf(stderr, "taken (%s): %s\n", json_get_str(bad, "why"), text);
                        assert(false);
                }
                assert(why.kind == WHY_USAGE && str_starts(why.text, "bad: "));
                assert(!p.files && !p.unknown);
                n++;
        }
        assert(n > 100);
}

/* What only a text can be wrong in. */
static void test_texts(void)
{
        static const struct {
                const char *text;
                bool good;
        } cases[] = {
                { "", false },
                { "{\"pin\":\"1\",\"pin\":\"2\"}", false },
                { "{\"pin\":\"1\"} x", false },
                { "// a comment\n{\"windows\":[], /* another */ \"unknown\":{}}", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(policy_done) Policy p = POLICY_DEFAULT;
                assert((parse(&p, cases[i].text) >= 0) == cases[i].good);
        }
}

/* --- merging --- */

static void test_values(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;

        assert(p.automation == POLICY_AUTO_STAGE && p.attempts == 2 && p.soak_sec == 300 &&
               p.deadline_sec == 900);
        assert(parse(&p, "{\"automation\":\"full\",\"soak\":\"7m\",\"deadline\":\"1h\",\"attempts\":3,"
                         "\"bandwidth\":1000,"
                         "\"pressure\":{\"io\":1,\"cpu\":2,\"memory\":3},\"rollout\":{\"percent\":40,"
                         "\"ramp\":\"2d\"},"
                         "\"minimumAge\":60,\"channel\":\"beta\",\"require\":[\"watchdog\",\"nvram\"],"
                         "\"reboot\":{\"coordinator\":\"fleetlock\",\"url\":\"http://"
                         "l\",\"group\":\"g\",\"id\":\"me\","
                         "\"hook\":\"/h\",\"timeout\":9},"
                         "\"windows\":[{\"days\":[\"sun\",\"sat\"],\"start\":\"22:00\",\"end\":\"04:30\","
                         "\"timezone\":\"Europe/Berlin\"}]}") >= 0);
        assert(p.automation == POLICY_AUTO_FULL && p.soak_sec == 420 && p.deadline_sec == 3600 &&
               p.attempts == 3 && p.bandwidth == 1000);
        assert(p.pressure.io == 1 && p.pressure.cpu == 2 && p.pressure.memory == 3 &&
               p.rollout_percent == 40 && p.rollout_ramp_sec == 172800 && p.minimum_age_sec == 60);
        assert(streq(p.channel, "beta") && strv_has(p.require, "nvram") && strv_len(p.require) == 2);
        assert(p.reboot.coordinator == POLICY_COORD_FLEETLOCK && streq(p.reboot.url, "http://l") &&
               streq(p.reboot.group, "g") && streq(p.reboot.id, "me") && streq(p.reboot.hook, "/h") &&
               p.reboot.timeout_sec == 9);
        assert(p.n_windows == 1 && p.windows[0].days == (1u << 0 | 1u << 6) &&
               p.windows[0].start_sec == 79200 && p.windows[0].length_sec == 6 * 3600 + 1800 &&
               streq(p.windows[0].timezone, "Europe/Berlin"));
        /* null: each is what it was without that file */
        assert(parse(&p, "{\"automation\":null,\"soak\":null,\"deadline\":null,\"attempts\":null,"
                         "\"bandwidth\":null,"
                         "\"pressure\":null,\"rollout\":null,\"minimumAge\":null,\"channel\":null,"
                         "\"require\":null,"
                         "\"reboot\":null,\"windows\":null}") >= 0);
        assert(p.automation == POLICY_AUTO_STAGE && p.soak_sec == 300 && p.deadline_sec == 900 &&
               p.attempts == 2 && p.bandwidth == 0 && p.pressure.io == 20 && p.pressure.cpu == 0 &&
               p.pressure.memory == 10);
        assert(p.rollout_percent == 100 && p.rollout_ramp_sec == 0 && p.minimum_age_sec == 0 && !p.channel &&
               !p.require && p.n_windows == 0);
        assert(p.reboot.coordinator == POLICY_COORD_NONE && !p.reboot.url && !p.reboot.group &&
               !p.reboot.id && !p.reboot.hook && p.reboot.timeout_sec == 0);
}

static void test_merge(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;

        assert(parse(&p, "{\"skip\":[\"1\",\"2\"],\"attempts\":5,\"rollout\":{\"percent\":10,\"ramp\":\"1h\"}"
                         "}") >= 0);
        /* what is said replaces, and only that; objects by field */
        assert(parse(&p, "{\"skip\":[\"3\"],\"rollout\":{\"percent\":20}}") >= 0);
        assert(strv_len(p.skip) == 1 && strv_has(p.skip, "3") && p.attempts == 5);
        assert(p.rollout_percent == 20 && p.rollout_ramp_sec == 3600);
        /* a list may be edited */
        assert(parse(&p, "{\"skip\":{\"add\":[\"4\",\"3\"]}}") >= 0 && strv_len(p.skip) == 2);
        assert(parse(&p, "{\"skip\":{\"remove\":[\"3\",\"9\"]}}") >= 0 && strv_len(p.skip) == 1 &&
               strv_has(p.skip, "4"));
        assert(parse(&p, "{\"skip\":null}") >= 0 && !p.skip);
        /* a hold is one value: nobody's reason under another's name */
        assert(parse(&p, "{\"hold\":{\"until\":\"1970-01-01T00:10:00Z\",\"by\":\"ops\",\"reason\":\"freeze\"}"
                         "}") >= 0);
        assert(p.held && p.hold_until == 600 && streq(p.hold_by, "ops"));
        assert(parse(&p, "{\"hold\":{\"by\":\"me\"}}") >= 0 && p.held && p.hold_until == UINT64_MAX &&
               !p.hold_reason && streq(p.hold_by, "me"));
        assert(parse(&p, "{\"hold\":null}") >= 0 && !p.held && !p.hold_by);
}

/* A file with a mistake at its end leaves nothing behind. */
static void test_whole_or_nothing(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;

        assert(parse(&p, "{\"pin\":\"1\",\"skip\":[\"2\"],\"hold\":{},\"windows\":[{\"start\":\"00:00\","
                         "\"end\":\"01:00\"}],"
                         "\"zebra\":1,\"reboot\":{\"timeout\":\"x\"}}") == -EINVAL);
        assert(!p.pin && !p.skip && !p.held && p.n_windows == 0 && !p.files && !p.unknown);
}

static void test_unknown(void)
{
        _cleanup_(policy_done) Policy p = POLICY_DEFAULT;

        assert(parse(&p, "{\"windos\":[],\"rollout\":{\"percent\":1,\"rampe\":\"1h\"},\"ramp\":1,\"hold\":{"
                         "\"x\":1}}") >= 0);
        assert(strv_len(p.unknown) == 3 && strv_has(p.unknown, "test: windos") &&
               strv_has(p.unknown, "test: rollout.rampe") && strv_has(p.unknown, "test: ramp"));
}

/* --- loading --- */

typedef struct Tree {
        char dir[32];
        Env env;
} Tree;

static Tree tree_new(void)
{
        Tree t = { .dir = "/tmp/gybe-policy-XXXXXX", .env = ENV_NULL };

        assert(mkdtemp(t.dir) && env_open(t.dir, &t.env, NULL) >= 0);
        return t;
}

static void tree_done(Tree *t)
{
        int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert(dir_remove(fd, t->dir + strlen("/tmp/")) >= 0);
        (void) close(fd);
        env_done(&t->env);
}

static void tree_write(const Tree *t, const char *folder, const char *name, const char *text)
{
        int fd = env_make_dir(&t->env, folder, 0755);

        assert(fd >= 0 && file_replace(fd, name, text, strlen(text), 0644) >= 0);
        (void) close(fd);
}

#define VENDOR "/usr/lib/gybe/policy.d"
#define ETC    "/etc/gybe/policy.d"
#define RUN    "/run/gybe/policy.d"

static void test_load(void)
{
        _cleanup_(tree_done) Tree t = tree_new();
        _cleanup_(policy_done) Policy none = { 0 }, p = { 0 };
        Why why = { 0 };

        assert(policy_load(&t.env, &none, &why) >= 0 && none.attempts == 2 && !none.broken &&
               why.kind == WHY_NONE);
        tree_write(&t, VENDOR, "50-fleet.json",
                   "{\"attempts\":1,\"soak\":\"1m\",\"pin\":\"v\",\"rollout\":{\"ramp\":\"1h\"}}");
        tree_write(&t, ETC, "20-site.json", "{\"attempts\":3,\"pin\":\"e\"}");
        tree_write(&t, ETC, "10-site.json", "{\"attempts\":4,\"rollout\":{\"percent\":7}}");
        tree_write(&t, ETC, "README", "no rule");
        tree_write(&t, ETC, "30.json.new~", "{torn");
        tree_write(&t, RUN, "00.json", "{\"pin\":null}");
        assert(policy_load(&t.env, &p, &why) >= 0 && !p.broken && why.kind == WHY_NONE);
        assert(p.attempts == 3 && p.soak_sec == 60 && !p.pin && p.rollout_percent == 7 &&
               p.rollout_ramp_sec == 3600);
        assert(streq(policy_source(&p, POLICY_FIELD_ATTEMPTS), ETC "/20-site.json"));
        assert(streq(policy_source(&p, POLICY_FIELD_SOAK), VENDOR "/50-fleet.json"));
        assert(streq(policy_source(&p, POLICY_FIELD_PIN), RUN "/00.json"));
        assert(streq(policy_source(&p, POLICY_FIELD_ROLLOUT_PERCENT), ETC "/10-site.json"));
        assert(streq(policy_source(&p, POLICY_FIELD_ROLLOUT_RAMP), VENDOR "/50-fleet.json"));
        assert(!policy_source(&p, POLICY_FIELD_HOLD) && strv_len(p.files) == 4);
}

/* Whatever is wrong with a file: it is said, left out, remembered, and the others count. */
static void test_broken(void)
{
        static const struct {
                const char *name, *text;
                const char *link;
                bool dir;
        } cases[] = {
                { .name = "50.json", .text = "{\"hold\":{}" },
                { .name = "50.json",
                  .text = "" }, /* what a power cut may leave of a careless editor's file */
                { .name = "50.json", .text = "{\"soak\":\"soon\"}" },
                { .name = "50.json", .link = "/nowhere" },
                { .name = "50.json", .link = "/dev/null" }, /* not there in a host made of files */
                { .name = "50.json", .dir = true },
                { .name = "50.json",
                  .text = "{\"windows\":[{\"start\":\"00:00\",\"end\":\"01:00\",\"timezone\":\"No/"
                          "Where\"}]}" },
                { .name = "50.json", .text = "{\"reboot\":{\"coordinator\":\"fleetlock\"}}" },
                { .name = "50.json", .text = "{\"reboot\":{\"coordinator\":\"hook\"}}" },
                { .name = "50.json",
                  .text = "{\"soak\":\"15m\"}" }, /* no update would be kept in 15 minutes */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(tree_done) Tree t = tree_new();
                _cleanup_(policy_done) Policy p = { 0 };
                PolicySubject agent = { .version = "2", .unattended = true };
                PolicyVerdict v;
                Why why = { 0 };
                int fd;

                tree_write(&t, ETC, "10.json", "{\"attempts\":7}");
                tree_write(&t, ETC, "90.json", "{\"automation\":\"full\"}");
                fd = env_open_dir(&t.env, ETC);
                assert(fd >= 0);
                if (cases[i].text)
                        tree_write(&t, ETC, cases[i].name, cases[i].text);
                else if (cases[i].dir)
                        assert(mkdirat(fd, cases[i].name, 0755) == 0);
                else
                        assert(symlinkat(cases[i].link, fd, cases[i].name) == 0);
                (void) close(fd);
                assert(policy_load(&t.env, &p, &why) >= 0);
                assert(p.broken && why.kind != WHY_NONE && streq(why.text, p.broken));
                assert(p.attempts == 7 && p.automation == POLICY_AUTO_FULL);
                for (PolicyDoor d = 0; d < _POLICY_DOOR_MAX; d++) {
                        policy_ask(&p, d, &agent, 1790000000, &v);
                        assert(v.answer == POLICY_WAIT && v.until == UINT64_MAX &&
                               streq(v.rule, "policy-file"));
                }
        }
}

/* A folder that cannot be listed may hold anything. */
static void test_broken_folder(void)
{
        _cleanup_(tree_done) Tree t = tree_new();
        _cleanup_(policy_done) Policy p = { 0 };

        tree_write(&t, "/etc/gybe", "policy.d", "a file");
        assert(policy_load(&t.env, &p, NULL) >= 0 && p.broken);
}

static void test_zones(void)
{
        static const char *const rules = "{\"windows\":[{\"start\":\"00:00\",\"end\":\"01:00\"},"
                                         "{\"start\":\"02:00\",\"end\":\"03:00\",\"timezone\":\"UTC\"}]}";
        _cleanup_(tree_done) Tree t = tree_new();
        _cleanup_(policy_done) Policy none = { 0 }, linked = { 0 }, dangling = { 0 };
        int fd;

        /* no tzdata, no /etc/localtime: a host on UTC */
        tree_write(&t, ETC, "1.json", rules);
        assert(policy_load(&t.env, &none, NULL) >= 0 && !none.broken && none.windows[0].zone &&
               none.windows[1].zone);
        /* a link that leads nowhere is not "no zone set" */
        fd = env_open_dir(&t.env, "/etc");
        assert(symlinkat("../usr/share/zoneinfo/Here/There", fd, "localtime") == 0);
        assert(policy_load(&t.env, &dangling, NULL) >= 0 && dangling.broken && !dangling.windows[0].zone &&
               dangling.windows[1].zone);
        if (access("/usr/share/zoneinfo/Asia/Kathmandu", R_OK) < 0) {
                (void) close(fd);
                return;
        }
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        assert(file_read(AT_FDCWD, "/usr/share/zoneinfo/Asia/Kathmandu", 64 * 1024, &b) >= 0);
        int folder = env_make_dir(&t.env, "/usr/share/zoneinfo/Here", 0755);
        assert(folder >= 0 && file_replace(folder, "There", b.data, b.size, 0644) >= 0);
        assert(policy_load(&t.env, &linked, NULL) >= 0 && !linked.broken);
        /* 00:00 there is 18:15 UTC */
        PolicySubject s = { .version = "1" };
        PolicyVerdict v;
        policy_ask(&linked, POLICY_FINALIZE, &s, UINT64_C(1790000000) / 86400 * 86400 + 12 * 3600, &v);
        assert(v.answer == POLICY_WAIT && v.until % 86400 == 18 * 3600 + 15 * 60);
        (void) close(folder);
        (void) close(fd);
}

/* Who only shortens the deadline gets a soak that fits. */
static void test_soak_fits(void)
{
        _cleanup_(tree_done) Tree t = tree_new();
        _cleanup_(policy_done) Policy p = { 0 };

        tree_write(&t, ETC, "1.json", "{\"deadline\":\"90s\"}");
        assert(policy_load(&t.env, &p, NULL) >= 0 && !p.broken && p.soak_sec == 30);
}

static void test_machine_id(void)
{
        static const struct {
                const char *text, *id;
        } cases[] = {
                { "0123456789ABCDEF0123456789abcdef\n", "0123456789abcdef0123456789abcdef" },
                { "uninitialized\n", NULL },
                { "", NULL },
                { "0123456789abcdef0123456789abcde\n", NULL },
        };
        _cleanup_(tree_done) Tree t = tree_new();
        _cleanup_(free_charp) char *none = NULL;

        assert(policy_machine_id(&t.env, &none) >= 0 && !none);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *id = NULL;

                tree_write(&t, "/etc", "machine-id", cases[i].text);
                assert(policy_machine_id(&t.env, &id) >= 0 && streq0(id, cases[i].id));
        }
}

int main(void)
{
        test_cases();
        test_texts();
        test_values();
        test_merge();
        test_whole_or_nothing();
        test_unknown();
        test_load();
        test_broken();
        test_broken_folder();
        test_zones();
        test_soak_fits();
        test_machine_id();
        return 0;
}
