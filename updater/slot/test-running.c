/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* What each witness says, and what is believed when several speak: command lines of ACL and Flatcar, old ones, doubled
 * ones, lying ones; then whole hosts on files. */

#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "slot/running.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define A      "7130c94a-213a-4e5a-8e26-6cce9662f132"
#define B      "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
#define HASH_A "b736baf1-cdb4-4535-beba-ddaaa30ad7b7"
#define HASH_B "35bdf78b-c453-4661-98e6-f834f534ef5b"
#define OTHER  "00000000-7c2d-4a47-b3fe-27f15780a57c"
#define ROOT   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ROOT2  "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

#define SLOT(x, uuid, hash)                                                                                  \
        " systemd.verity_usr_data=PARTUUID=" uuid " systemd.verity_usr_hash=PARTUUID=" hash                  \
        " systemd.verity_usr_options=panic-on-corruption usrhash=" ROOT " acl.slot=" x
#define MAIN "mount.usr=/dev/mapper/usr mount.usrflags=ro root=LABEL=ROOT rootflags=rw consoleblank=0"

static char dir[] = "/tmp/gybe-test-running-XXXXXX";

static const Partition usr_a = { .number = 2, .label = "USR-A", .partuuid = A };
static const Partition usr_b = { .number = 5, .label = "USR-B", .partuuid = B };
static const Partition hash_a = { .number = 3, .label = "HASH-A", .partuuid = HASH_A };
static const Partition hash_b = { .number = 6, .label = "HASH-B", .partuuid = HASH_B };
static const SlotLayout layout = { .generation = "G2",
                                   .slot = { { .data = &usr_a, .hash = &hash_a },
                                             { .data = &usr_b, .hash = &hash_b } } };
static const SlotLayout inline_layout = { .generation = "G1",
                                          .slot = { { .data = &usr_a }, { .data = &usr_b } } };

static void test_cmdline(void)
{
        static const struct {
                const char *cmdline;
                int r;
                SlotId slot;
                const char *partuuid, *roothash, *says;
        } cases[] = {
                { MAIN SLOT("a", A, HASH_A), 1, SLOT_A, A, ROOT, NULL },
                { MAIN SLOT("b", B, HASH_B) "\n", 1, SLOT_B, B, ROOT, NULL },
                { MAIN " systemd.verity_usr_data=PARTUUID=E03DD35C-7c2d-4a47-b3fe-27f15780a57c", 1, SLOT_B, B,
                  "", NULL },
                { SLOT("b", B, HASH_B) " acl.verity_usr_signature=PARTUUID=" OTHER, 1, SLOT_B, B, ROOT,
                  NULL },
                { MAIN " systemd.verity_usr_data=PARTUUID=" A " usrhash=" ROOT, 1, SLOT_A, A, ROOT,
                  NULL }, /* no acl.slot= yet */
                { "mount.usr=PARTUUID=" B " mount.usrflags=ro", 1, SLOT_B, B, "", NULL },
                { "mount.usr=/dev/mapper/usr verity.usr=PARTUUID=" A " verity.usrhash=" ROOT, 1, SLOT_A, A,
                  ROOT, NULL },
                { "verity.usr=/dev/disk/by-partuuid/" A " verity.usrhash=" ROOT, 1, SLOT_A, A, ROOT, NULL },
                { "verity.usr=PARTUUID=" A " mount.usr=PARTUUID=" A, 1, SLOT_A, A, "", NULL },
                { SLOT("a", A, A), 1, SLOT_A, A, ROOT, NULL }, /* inline: the tree is on the data partition */
                { SLOT("a", A, HASH_A) " usrhash=0123456789ABCDEF" /* no: */, -EBADMSG, _SLOT_INVALID, "", "",
                  "usrhash= occurs twice" },
                { " usrhash=0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef "
                  "verity.usr=PARTUUID=" B,
                  1, SLOT_B, B, ROOT, NULL },
                /* nothing said */
                { "", 0, _SLOT_INVALID, "", "", NULL },
                { MAIN, 0, _SLOT_INVALID, "", "", NULL },
                { "usrhash=" ROOT, 0, _SLOT_INVALID, "", ROOT, NULL },
                { "acl.slot=b", 0, _SLOT_INVALID, "", "", NULL }, /* a name is no partition */
                { "systemd.verity_usr_data=/dev/sda3", 0, _SLOT_INVALID, "", "", NULL },
                { "xsystemd.verity_usr_data=PARTUUID=" A, 0, _SLOT_INVALID, "", "", NULL },
                /* doubled: even when both say the same */
                { SLOT("a", A, HASH_A) SLOT("a", A, HASH_A), -EBADMSG, _SLOT_INVALID, "", "", "twice" },
                { SLOT("a", A, HASH_A) SLOT("b", B, HASH_B), -EBADMSG, _SLOT_INVALID, "", "", "twice" },
                { SLOT("a", A, HASH_A) " systemd.verity_usr_options=x", -EBADMSG, _SLOT_INVALID, "", "",
                  "twice" },
                { SLOT("a", A, HASH_A) " acl.slot=a", -EBADMSG, _SLOT_INVALID, "", "", "twice" },
                { "verity.usr=PARTUUID=" A " verity.usr=/dev/sda3", -EBADMSG, _SLOT_INVALID, "", "",
                  "twice" },
                { "mount.usr=PARTUUID=" A " mount.usr=PARTUUID=" A, -EBADMSG, _SLOT_INVALID, "", "",
                  "twice" },
                { "mount.usr=/dev/mapper/usr mount.usr=PARTUUID=" A, 1, SLOT_A, A, "", NULL },
                /* contradictions */
                { SLOT("b", A, HASH_A), -EBADMSG, _SLOT_INVALID, A, "", "acl.slot=b" },
                { SLOT("c", A, HASH_A), -EBADMSG, _SLOT_INVALID, A, "", "no slot" },
                { SLOT("a", A, HASH_B), -EBADMSG, _SLOT_INVALID, A, "", "hash tree" },
                { SLOT("a", OTHER, HASH_A), -EBADMSG, _SLOT_INVALID, OTHER, "", "no slot of this disk" },
                { SLOT("a", A, HASH_A) " mount.usr=PARTUUID=" B, -EBADMSG, _SLOT_INVALID, "", "",
                  "names the partitions" },
                { SLOT("a", A, HASH_A) " verity.usrhash=" ROOT2, -EBADMSG, _SLOT_INVALID, A, "",
                  "two root hashes" },
                { SLOT("a", A, HASH_A) " verity.usrhash=12", -EBADMSG, _SLOT_INVALID, A, "", "no root hash" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Witness w = WITNESS_NULL;
                Why why = { 0 };
                int r = witness_cmdline(cases[i].cmdline, &layout, &w, &why);

                if (r != cases[i].r || w.slot != cases[i].slot || !streq(w.partuuid, cases[i].partuuid))
                        fprintf(stderr, "case %zu: %i %i %s %s\n", i, r, w.slot, w.partuuid, why.text);
                assert(r == cases[i].r && w.slot == cases[i].slot && streq(w.partuuid, cases[i].partuuid));
                assert(r < 0 || streq(w.roothash, cases[i].roothash));
                assert(cases[i].says ? strstr(why.text, cases[i].says) != NULL : !why.text[0]);
        }
}

static void test_without_layout(void)
{
        Witness w = WITNESS_NULL;

        assert(witness_cmdline(MAIN SLOT("b", B, HASH_B), NULL, &w, NULL) == 1 && w.slot == SLOT_B &&
               streq(w.partuuid, B));
        w = WITNESS_NULL;
        assert(witness_cmdline("verity.usr=PARTUUID=" B, NULL, &w, NULL) == 0 && w.slot < 0 &&
               streq(w.partuuid, B));
        w = WITNESS_NULL;
        assert(witness_acl(
                       "ACL_ACTIVE_VOLUME=B\nACL_ACTIVE_VOLUME_DEFAULTED=0\nACL_ACTIVE_VOLUME_STATUS=ok\n",
                       NULL, &w, NULL) == 1);
        assert(w.slot == SLOT_B);
}

#define ACL(volume, uuid, status, defaulted)                                                                 \
        "ACL_ACTIVE_VOLUME=" volume "\nACL_ACTIVE_USR_LABEL=USR-" volume "\nACL_ACTIVE_USR_PARTUUID=" uuid   \
        "\nACL_ACTIVE_VOLUME_SOURCE=systemd.verity_usr_data\nACL_ACTIVE_VOLUME_STATUS=" status               \
        "\nACL_ACTIVE_VOLUME_DEFAULTED=" defaulted "\n"

static void test_acl(void)
{
        static const struct {
                const char *text;
                int r;
                SlotId slot;
                bool defaulted;
        } cases[] = {
                { ACL("A", A, "ok", "0"), 1, SLOT_A, false },
                { ACL("B", B, "ok", "0"), 1, SLOT_B, false },
                { ACL("B", "", "ok", "0"), 1, SLOT_B, false },
                { ACL("A", "", "no-usr-partuuid-on-cmdline", "1"), 0, _SLOT_INVALID, true },
                { ACL("A", OTHER, "unrecognized-usr-partuuid", "0"), 0, _SLOT_INVALID, true },
                { ACL("A", A, "ok", "1"), 0, _SLOT_INVALID, true },
                { ACL("A", A, "ok", ""), 0, _SLOT_INVALID, true },
                { "ACL_ACTIVE_VOLUME=A\n", 0, _SLOT_INVALID, true },
                { "", 0, _SLOT_INVALID, true },
                { ACL("B", A, "ok", "0"), -EBADMSG, _SLOT_INVALID, false },
                { ACL("C", A, "ok", "0"), -EBADMSG, _SLOT_INVALID, false },
                { ACL("A", "x", "ok", "0"), -EBADMSG, _SLOT_INVALID, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Witness w = WITNESS_NULL;

                assert(witness_acl(cases[i].text, &layout, &w, NULL) == cases[i].r);
                assert(w.slot == cases[i].slot && w.defaulted == cases[i].defaulted);
        }
}

/* Files of a host; text NULL removes. */
static void put(int root, const char *name, const char *text)
{
        char folder[256];
        char *slash;

        if (!text) {
                (void) unlinkat(root, name, 0);
                return;
        }
        (void) snprintf(folder, sizeof(folder), "%s", name);
        slash = strrchr(folder, '/');
        *slash = 0;
        _cleanup_(close_fdp) int fd = dir_make(root, folder, 0755);
        assert(fd >= 0 && file_replace(fd, slash + 1, text, strlen(text), 0644) >= 0);
}

static void test_dm(const Env *env, int root)
{
        Witness w = WITNESS_NULL;

        assert(witness_dm(env, &layout, &w, NULL) == 0); /* no mapping at all */
        put(root, "sys/block/dm-0/dm/name", "crypt\n");
        put(root, "sys/block/sda/size", "1\n");
        assert(witness_dm(env, &layout, &w, NULL) == 0);
        put(root, "sys/block/dm-3/dm/name", "usr\n");
        assert(witness_dm(env, &layout, &w, NULL) == -EBADMSG); /* a mapping that lies on nothing */
        put(root, "sys/block/dm-3/slaves/sda6/x", "");
        put(root, "sys/class/block/sda6/uevent", "DEVNAME=sda6\nPARTUUID=" HASH_B "\n");
        assert(witness_dm(env, &layout, &w, NULL) == -EBADMSG); /* the tree alone is not the data */
        put(root, "sys/block/dm-3/slaves/sda5/x", "");
        put(root, "dev/disk/by-partuuid/x", "");
        assert(symlinkat("../../sda5", root, "dev/disk/by-partuuid/" B) ==
               0); /* an older kernel: a link says it */
        assert(witness_dm(env, &layout, &w, NULL) == 1 && w.slot == SLOT_B && streq(w.partuuid, B));
        assert(witness_dm(env, NULL, &w, NULL) == 0);
        put(root, "sys/block/dm-3/slaves/sda2/x", "");
        put(root, "sys/class/block/sda2/uevent", "PARTUUID=" A "\n");
        assert(witness_dm(env, &layout, &w, NULL) == -EBADMSG); /* on both */
}

static void test_host(const Env *env, int root)
{
        static const struct {
                const char *cmdline, *acl;
                const SlotLayout *layout;
                SlotId slot; /* invalid: not known */
                bool defaulted;
                const char *roothash, *partuuid, *says;
        } cases[] = {
                { MAIN SLOT("a", A, HASH_A), NULL, &layout, SLOT_A, false, ROOT, A, NULL },
                { MAIN SLOT("b", B, HASH_B), ACL("B", B, "ok", "0"), &layout, SLOT_B, false, ROOT, B, NULL },
                { MAIN SLOT("b", B, B), ACL("B", B, "ok", "0"), &inline_layout, SLOT_B, false, ROOT, B,
                  NULL },
                { MAIN SLOT("b", B, HASH_B), ACL("A", "", "no-usr-partuuid-on-cmdline", "1"), &layout, SLOT_B,
                  true, ROOT, B, NULL },
                { MAIN SLOT("b", B, HASH_B), ACL("A", A, "ok", "0"), &layout, _SLOT_INVALID, false, ROOT, B,
                  "slot b" },
                { MAIN, ACL("B", B, "ok", "0"), &layout, SLOT_B, false, "", B, NULL },
                { MAIN " usrhash=" ROOT, ACL("B", "", "ok", "0"), &layout, SLOT_B, false, ROOT, B, NULL },
                { NULL, ACL("A", A, "ok", "0"), &layout, SLOT_A, false, "", A, NULL },
                { MAIN " acl.slot=b", ACL("A", A, "ok", "0"), &layout, _SLOT_INVALID, false, "", A,
                  "acl.slot=" },
                { MAIN " acl.slot=a", ACL("A", A, "ok", "0"), &layout, SLOT_A, false, "", A, NULL },
                { MAIN, ACL("A", "", "no-usr-partuuid-on-cmdline", "1"), &layout, _SLOT_INVALID, true, "", "",
                  "guess" },
                { MAIN, NULL, &layout, _SLOT_INVALID, false, "", "", "not known" },
                { NULL, NULL, &layout, _SLOT_INVALID, false, "", "", "not known" },
                { SLOT("a", A, HASH_A) SLOT("b", B, HASH_B), ACL("A", A, "ok", "0"), &layout, _SLOT_INVALID,
                  false, "", "", "twice" },
                { SLOT("a", OTHER, HASH_A), NULL, &layout, _SLOT_INVALID, false, ROOT, OTHER, "no slot" },
                { MAIN SLOT("a", A, HASH_A), NULL, NULL, SLOT_A, false, ROOT, A, NULL },
                { "verity.usr=PARTUUID=" A, NULL, NULL, _SLOT_INVALID, false, "", A, "not known" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                SlotRunning r = { 0 };
                Why why = { 0 };

                put(root, "proc/cmdline", cases[i].cmdline);
                put(root, "run/acl/active-volume.env", cases[i].acl);
                assert(slot_running(env, cases[i].layout, &r, &why) == 0);
                if (r.known != (cases[i].slot >= 0) || r.slot != cases[i].slot)
                        fprintf(stderr, "case %zu: %i %i %s\n", i, r.known, r.slot, why.text);
                assert(r.known == (cases[i].slot >= 0) && r.slot == cases[i].slot);
                assert(r.defaulted == cases[i].defaulted && streq(r.data_partuuid, cases[i].partuuid));
                assert(!r.known || streq(r.roothash, cases[i].roothash));
                assert(cases[i].says ? strstr(why.text, cases[i].says) && why.kind == WHY_HOST
                                     : !why.text[0]);
        }
}

int main(void)
{
        Env env = ENV_NULL;
        int root;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        test_cmdline();
        test_without_layout();
        test_acl();
        test_host(&env, root);
        test_dm(&env, root);
        (void) close(root);
        env_done(&env);
        root = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(dir_remove(root, dir + strlen("/tmp/")) >= 0);
        (void) close(root);
        return 0;
}
