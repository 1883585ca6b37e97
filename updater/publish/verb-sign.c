/* SPDX-License-Identifier: MIT */

/* keygen, root, sign, publish: the verbs that deal with keys. */

#include "publish/options.h"
#include "publish/verbs.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define DAY UINT64_C(86400)

static const char hsm_text[] =
        "\nKeys in an HSM: no private key has to be in a file. Export the public halves as PEM, make the "
        "root from\n"
        "them (gybe-release root new --root-key PUB.pem --release-key PUB.pem ...), and sign in three "
        "steps:\n"
        "  gybe-release sign --add-signature --pae to-sign.bin X.release.json\n"
        "  (HSM) sign to-sign.bin: ECDSA as DER over SHA-384 (P-384), Ed25519 pure, RSA-PSS with SHA-384 and "
        "a salt\n"
        "        of 48 bytes. With a PKCS#11 provider for OpenSSL, P-384: openssl dgst -sha384 -sign "
        "'pkcs11:...'\n"
        "        -out sig.bin to-sign.bin\n"
        "  gybe-release sign --add-signature --public PUB.pem --signature sig.bin X.release.json\n"
        "The same works for root.json and index.json.\n";

/* "signed by N keys" */
static void add_signatures(Str *s, const Json *list)
{
        json_foreach (sig, list)
                str_addf(s, "  %-10s %.16s\n", json_get_str(sig, "alg") ?: "",
                         json_get_str(sig, "keyid") ?: "");
}

static char *signed_text(const Json *result, const char *what)
{
        Str s = STR_NULL;

        str_addf(&s, "%s%s%s\n", json_get_str(result, "file") ?: "", what ? ": " : "", what ?: "");
        add_signatures(&s, json_get(result, "signatures"));
        return str_take(&s);
}

/* --- keygen --- */

static char *keygen_text(const Json *result)
{
        Str s = STR_NULL;

        json_foreach (key, json_get(result, "keys"))
                str_addf(&s, "%-8s %-10s %.16s  %s\n", json_get_str(key, "role") ?: "",
                         json_get_str(key, "alg") ?: "", json_get_str(key, "keyid") ?: "",
                         json_get_str(key, "private") ?: "");
        str_addf(&s, "root     %s (hosts: /usr/lib/gybe/root.json or /etc/gybe/root.json)\n",
                 json_get_str(result, "root") ?: "");
        str_add(&s, "Keep the root key offline; releases and feeds are signed with the release key.\n");
        str_add(&s, hsm_text);
        return str_take(&s);
}

int verb_keygen(Cli *cli, Why *why)
{
        KeygenOptions o = { .root_signers = 1,
                            .root_threshold = 1,
                            .release_signers = 1,
                            .release_threshold = 1,
                            .valid = 730 * DAY };
        _cleanup_(strv_freep) char **rest = NULL, **algs = NULL;
        const Option options[] = {
                { "alg", 0, OPTION_LIST, &algs, "ALG",
                  "ecdsa-p384 (default), ecdsa-p256, ed25519, rsa-pss, ml-dsa-65. Given\ntwice: every "
                  "release signer "
                  "has a key of each and needs both" },
                { "signers", 0, OPTION_NUMBER, &o.release_signers, "N", "release signers (1)" },
                { "threshold", 0, OPTION_NUMBER, &o.release_threshold, "M",
                  "how many of them a release needs (1)" },
                { "root-signers", 0, OPTION_NUMBER, &o.root_signers, "N", "root signers (1)" },
                { "root-threshold", 0, OPTION_NUMBER, &o.root_threshold, "M",
                  "how many of them a root needs (1)" },
                { "feed-key", 0, OPTION_FLAG, &o.feed_key, NULL,
                  "a key of its own for feeds, else releases' serve" },
                { "valid", 0, OPTION_DURATION, &o.valid, "TIME", "of the root (730d)" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(
                        options, ELEMENTSOF(options), "gybe-release keygen DIR [--alg ALG]...",
                        "Makes root.pem, release.pem (private, mode 0600), their .pub.pem and a signed "
                        "root.json, version 1.\nFurther signers are release-2.pem ..., further "
                        "algorithms release.ALG.pem ....");
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "keygen", cli->argv, &rest, why);
        if (r < 0)
                return r;
        if (strv_len(rest) != 1)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "keygen: needs one DIR");
        o.dir = rest[0];
        o.algs = algs;
        r = publish_keygen(cli->env, &o, &cli->result, why);
        if (r >= 0)
                cli->text = keygen_text(cli->result);
        return r;
}

/* --- root --- */

static void root_options_done(RootOptions *o)
{
        strv_freep(&o->root_keys);
        strv_freep(&o->release_keys);
        strv_freep(&o->feed_keys);
        strv_freep(&o->signers);
        strv_freep(&o->remove);
        strv_freep(&o->require_algs);
        strv_freep(&o->keys);
}

static const char root_usage[] =
        "gybe-release root new    -o root.json --root-key PEM... --release-key PEM... --key K...\n"
        "gybe-release root rotate root.json -o root.2.json [changes] --key K...\n"
        "gybe-release root sign   root.2.json --key K...";

static const char root_story[] =
        "The root says which keys count. rotate makes the next version; hosts accept it when the root "
        "thresholds of the\n"
        "old and of the new version are met, so sign with keys of both (at once or one after the other with "
        "root sign).\n"
        "Served as root.N.json in a feed (gybe-release publish --root) it reaches hosts by itself.";

static int run_root_sign(Cli *cli, const RootOptions *o, const char *file, Why *why)
{
        SignatureOptions s = { .file = file, .keys = o->keys };
        int r = publish_add_signature(&s, &cli->result, why);

        if (r >= 0)
                cli->text = signed_text(cli->result, NULL);
        return r;
}

static int run_root_make(Cli *cli, RootOptions *o, uint64_t valid, Why *why)
{
        char what[64];
        uint64_t version = 0;
        int r;

        if (!o->output)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "root: needs -o FILE");
        if (!o->from && (!o->root_keys || (!o->release_keys && !o->signers)))
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "root new: needs --root-key and --release-key or --signer");
        if (!o->expires)
                o->expires = env_now(cli->env) + valid;
        r = publish_root_make(cli->env, o, &cli->result, why);
        if (r < 0)
                return r;
        (void) json_get_u64(cli->result, "version", &version);
        (void) snprintf(what, sizeof(what), "version %" PRIu64, version);
        cli->text = signed_text(cli->result, what);
        return 0;
}

int verb_root(Cli *cli, Why *why)
{
        _cleanup_(root_options_done) RootOptions o = { 0 };
        _cleanup_(strv_freep) char **rest = NULL;
        uint64_t valid = 730 * DAY;
        const Option options[] = {
                { "root-key", 0, OPTION_LIST, &o.root_keys, "PEM",
                  "adds a root key (public half suffices); may be repeated" },
                { "release-key", 0, OPTION_LIST, &o.release_keys, "PEM", "adds a release key" },
                { "feed-key", 0, OPTION_LIST, &o.feed_keys, "PEM",
                  "adds a feed key; without any the release keys serve" },
                { "signer", 0, OPTION_LIST, &o.signers, "ID=PEM,PEM",
                  "adds a release signer that needs all of these keys" },
                { "remove", 0, OPTION_LIST, &o.remove, "KEYID",
                  "rotate: the key goes, with every signer that needs it" },
                { "root-threshold", 0, OPTION_NUMBER, &o.root_threshold, "N",
                  "how many root keys must sign" },
                { "release-threshold", 0, OPTION_NUMBER, &o.release_threshold, "N", "the same for releases" },
                { "feed-threshold", 0, OPTION_NUMBER, &o.feed_threshold, "N", "the same for feeds" },
                { "require-alg", 0, OPTION_LIST, &o.require_algs, "ALG",
                  "a release needs a counted signature of this kind" },
                { "valid", 0, OPTION_DURATION, &valid, "TIME", "from now (730d)" },
                { "expires", 0, OPTION_TIME, &o.expires, "T", "RFC 3339, instead of --valid" },
                { "key", 0, OPTION_LIST, &o.keys, "PEM", "sign with this private key; may be repeated" },
                { "output", 'o', OPTION_TEXT, &o.output, "FILE", "new and rotate" },
        };
        size_t n;
        int r;

        if (cli->help) {
                cli->text = options_help(options, ELEMENTSOF(options), root_usage, root_story);
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "root", cli->argv, &rest, why);
        n = strv_len(rest);
        if (r < 0)
                return r;
        if (n == 1 && streq(rest[0], "new"))
                return run_root_make(cli, &o, valid, why);
        if (n == 2 && streq(rest[0], "rotate")) {
                o.from = rest[1];
                return run_root_make(cli, &o, valid, why);
        }
        if (n == 2 && streq(rest[0], "sign"))
                return run_root_sign(cli, &o, rest[1], why);
        return fail_hint(why, fail(why, -EINVAL, WHY_USAGE, "usage", "root: new, rotate FILE or sign FILE"),
                         "see gybe-release root --help");
}

/* --- sign --- */

static void sign_options_done(SignOptions *o)
{
        strv_freep(&o->channels);
        strv_freep(&o->revoke_serials);
        strv_freep(&o->revoke_roothashes);
        strv_freep(&o->keys);
}

/* --channel stable,beta and --channel twice are the same */
static int split_channels(char *const *given, char ***ret, Why *why)
{
        for (; given && *given; given++) {
                _cleanup_(free_charp) char *copy = strdup(*given);
                char *state = NULL;

                if (!copy)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "channels");
                for (char *c = strtok_r(copy, ",", &state); c; c = strtok_r(NULL, ",", &state))
                        if (!strv_has(*ret, c) && strv_add(ret, c) < 0)
                                return fail_errno(why, -ENOMEM, WHY_HOST, "channels");
        }
        return 0;
}

static const char sign_usage[] =
        "gybe-release sign --key K... --product P --channel C --version V --serial N [...] X.cosi\n"
        "gybe-release sign --add-signature (--key K... | --public PUB --signature SIG | --pae FILE) "
        "FILE.json";

static const char sign_story[] = "Writes X.release.json beside X.cosi: what hosts must find in the COSI, "
                                 "signed. Where it exists and says the same,\n"
                                 "the signatures of these keys are added or replaced and the others stay. "
                                 "--add-signature needs only the file and\n"
                                 "works on root.json and index.json too.";

static int run_sign(Cli *cli, SignOptions *o, SignatureOptions *s, bool add_only, const char *file, Why *why)
{
        int r;

        if (add_only) {
                s->file = file;
                s->keys = o->keys;
                r = publish_add_signature(s, &cli->result, why);
        } else if (s->public || s->signature || s->pae) {
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "sign: --public, --signature and --pae belong to --add-signature");
        } else {
                o->cosi = file;
                r = publish_sign(cli->env, o, &cli->result, why);
        }
        if (r >= 0)
                cli->text = signed_text(cli->result, json_get_str(cli->result, "payload"));
        return r;
}

int verb_sign(Cli *cli, Why *why)
{
        _cleanup_(sign_options_done) SignOptions o = { .valid = 90 * DAY, .serial = UINT64_MAX };
        SignatureOptions s = { 0 };
        _cleanup_(strv_freep) char **rest = NULL, **channels = NULL;
        bool add_only = false;
        const Option options[] = {
                { "key", 0, OPTION_LIST, &o.keys, "PEM",
                  "private key; may be repeated. None: an unsigned file for an HSM" },
                { "product", 0, OPTION_TEXT, &o.product, "NAME",
                  "as in the hosts' gybe.json: azure-container-linux" },
                { "channel", 0, OPTION_LIST, &channels, "C[,C]", "channels it may be offered in" },
                { "version", 0, OPTION_TEXT, &o.version, "V", "of the OS release" },
                { "serial", 0, OPTION_NUMBER, &o.serial, "N", "grows with every release: 2026110400" },
                { "floor", 0, OPTION_NUMBER, &o.floor_serial, "N",
                  "after this release is committed, nothing below N is accepted (0)" },
                { "minimum", 0, OPTION_NUMBER, &o.minimum_serial, "N",
                  "hosts below N must take an earlier release first (0)" },
                { "issued", 0, OPTION_TIME, &o.issued, "T", "RFC 3339 (now)" },
                { "valid", 0, OPTION_DURATION, &o.valid, "TIME", "from issued (90d)" },
                { "expires", 0, OPTION_TIME, &o.expires, "T", "RFC 3339, instead of --valid" },
                { "revoke-serial", 0, OPTION_LIST, &o.revoke_serials, "N",
                  "never stage or boot that release again" },
                { "revoke-roothash", 0, OPTION_LIST, &o.revoke_roothashes, "HEX", "the same by content" },
                { "ostree-commit", 0, OPTION_TEXT, &o.ostree_commit, "HEX", "the commit with the same /usr" },
                { "notes", 0, OPTION_TEXT, &o.notes, "URL", "release notes" },
                { "output", 'o', OPTION_TEXT, &o.output, "FILE", "instead of X.release.json" },
                { "add-signature", 0, OPTION_FLAG, &add_only, NULL, "to an existing file; no COSI needed" },
                { "public", 0, OPTION_TEXT, &s.public, "PEM", "public key of --signature" },
                { "signature", 0, OPTION_TEXT, &s.signature, "FILE",
                  "raw signature over the --pae bytes, made elsewhere" },
                { "pae", 0, OPTION_TEXT, &s.pae, "FILE", "write the bytes that have to be signed" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(options, ELEMENTSOF(options), sign_usage, sign_story);
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "sign", cli->argv, &rest, why);
        if (r >= 0)
                r = split_channels(channels, &o.channels, why);
        if (r < 0)
                return r;
        if (strv_len(rest) != 1)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "sign: needs one file");
        o.has_serial = o.serial != UINT64_MAX;
        return run_sign(cli, &o, &s, add_only, rest[0], why);
}

/* --- publish --- */

static void feed_options_done(FeedOptions *o)
{
        strv_freep(&o->cosis);
        strv_freep(&o->channels);
        strv_freep(&o->remove);
        strv_freep(&o->roots);
        strv_freep(&o->keys);
}

static char *publish_text(const Json *result)
{
        Str s = STR_NULL;
        uint64_t serial = 0;
        bool changed = false;

        (void) json_get_u64(result, "serial", &serial);
        (void) json_get_bool(result, "changed", &changed);
        json_foreach (name, json_get(result, "copied"))
                str_addf(&s, "copied %s\n", json_str(name) ?: "");
        str_addf(&s, "%s/index.json: serial %" PRIu64 "%s\n", json_get_str(result, "feed") ?: "", serial,
                 changed ? "" : ", unchanged");
        return str_take(&s);
}

static int publish_to_feed(Cli *cli, Why *why)
{
        _cleanup_(feed_options_done) FeedOptions o = { .valid = 90 * DAY };
        _cleanup_(strv_freep) char **channels = NULL;
        const Option options[] = {
                { "feed", 0, OPTION_TEXT, &o.dir, "DIR", "the folder; made when it is missing" },
                { "key", 0, OPTION_LIST, &o.keys, "PEM", "signs index.json; may be repeated" },
                { "channel", 0, OPTION_LIST, &channels, "C[,C]",
                  "points to these releases (those they are signed for)" },
                { "root", 0, OPTION_LIST, &o.roots, "FILE",
                  "root.json to be served as root.N.json; releases are then checked "
                  "against\nthe newest one" },
                { "remove", 0, OPTION_LIST, &o.remove, "VERSION", "leaves the index; its files stay" },
                { "valid", 0, OPTION_DURATION, &o.valid, "TIME", "of the index (90d)" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(
                        options, ELEMENTSOF(options),
                        "gybe-release publish --feed DIR --key K... [--channel C] X.cosi...",
                        "Copies each COSI and the release file beside it into the feed and points the "
                        "channels to it. The same\nagain changes nothing. Without a COSI the index is "
                        "signed anew, so that it does not expire.\n\n"
                        "The others: gybe-release publish --oci --help, gybe-release publish --ostree "
                        "--help.");
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "publish", cli->argv, &o.cosis, why);
        if (r >= 0)
                r = split_channels(channels, &o.channels, why);
        if (r < 0)
                return r;
        if (!o.dir)
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "publish: needs --feed DIR, --oci REF or --ostree REPO");
        r = publish_feed(cli->env, &o, cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = publish_text(cli->result);
        return r;
}

/* Where to: each place has options of its own. */
int verb_publish(Cli *cli, Why *why)
{
        static const struct {
                const char *option;
                int (*run)(Cli *, Why *);
        } places[] = {
                { "--feed", publish_to_feed },
                { "--oci", verb_publish_oci },
                { "--ostree", verb_publish_ostree },
        };
        int (*run)(Cli *, Why *) = NULL;

        for (char *const *arg = cli->argv; *arg; arg++)
                for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                        size_t n = strlen(places[i].option);

                        if (strncmp(*arg, places[i].option, n) != 0 || ((*arg)[n] && (*arg)[n] != '='))
                                continue;
                        if (run && run != places[i].run)
                                return fail(why, -EINVAL, WHY_USAGE, "usage",
                                            "publish: one of --feed, --oci and --ostree at a time");
                        run = places[i].run;
                }
        return run ? run(cli, why) : publish_to_feed(cli, why);
}
