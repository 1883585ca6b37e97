/* SPDX-License-Identifier: MIT */

/* publish --oci: what was sent, for people. */

#include "publish/options.h"
#include "publish/verbs.h"
#include "base/str.h"

#include <errno.h>

static char *publish_text(const Json *result)
{
        Str s = STR_NULL;

        json_foreach (name, json_get(result, "pushed"))
                str_addf(&s, "sent %s\n", json_str(name) ?: "");
        json_foreach (artifact, json_get(result, "artifacts"))
                str_addf(&s, "%s: %s\n", json_get_str(artifact, "cosi") ?: "",
                         json_get_str(artifact, "manifest") ?: "");
        str_addf(&s, "%s: tags", json_get_str(result, "oci") ?: "");
        json_foreach (tag, json_get(result, "tags"))
                str_addf(&s, " %s", json_str(tag) ?: "");
        str_addf(&s, "%s\n", json_len(json_get(result, "pushed")) > 0 ? "" : ", unchanged");
        return str_take(&s);
}

static void oci_options_done(OciOptions *o)
{
        strv_freep(&o->cosis);
        strv_freep(&o->channels);
        strv_freep(&o->roots);
}

int verb_publish_oci(Cli *cli, Why *why)
{
        _cleanup_(oci_options_done) OciOptions o = { 0 };
        const Option options[] = {
                { "oci", 0, OPTION_TEXT, &o.ref, "REF", "oci://HOST[:PORT]/REPOSITORY[:TAG]" },
                { "channel", 0, OPTION_LIST, &o.channels, "C",
                  "a tag that points to this release (those it is signed for); may be repeated" },
                { "root", 0, OPTION_LIST, &o.roots, "FILE",
                  "root.json to be served as the tag root.N; releases are then checked\nagainst the newest "
                  "one" },
                { "authfile", 0, OPTION_TEXT, &o.auth_file, "FILE",
                  "users of registries ($REGISTRY_AUTH_FILE, or what podman or docker login\nwrote)" },
                { "ca", 0, OPTION_TEXT, &o.ca, "PEM", "instead of the system's certificate authorities" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(
                        options, ELEMENTSOF(options),
                        "gybe-release publish --oci REF [--channel C] [--authfile FILE] X.cosi...",
                        "Sends each COSI as the one layer of an artifact, attaches the release file beside "
                        "it, and "
                        "points tags to it:\nREF's, or else the version's and the channels'. Several COSIs "
                        "are one "
                        "release for several architectures. The\nsame again changes nothing. oci+http:// for "
                        "a "
                        "registry without TLS; hosts: source.type \"oci\".");
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "publish", cli->argv, &o.cosis, why);
        if (r < 0)
                return r;
        if (!o.cosis && !o.roots)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "publish: --oci needs a COSI or a --root");
        r = publish_oci(cli->env, &o, cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = publish_text(cli->result);
        return r;
}
