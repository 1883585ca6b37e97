/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* Disks of every generation, and disks where one thing is not as it should be. The tables are real: libfdisk wrote them. */

#include "disk/test-disk.h"
#include "slot/slot.h"

#include <errno.h>
#include <stdio.h>

#define X86_HASH DISK_TYPE_USR_VERITY_X86_64
#define X86_SIG  DISK_TYPE_USR_VERITY_SIG_X86_64
#define ARM_HASH DISK_TYPE_USR_VERITY_AARCH64
#define ARM_SIG  DISK_TYPE_USR_VERITY_SIG_AARCH64
#define DATA     "0fc63daf-8483-4772-8e79-3d69d8477de4"

static char image[] = "/tmp/gybe-test-layout-XXXXXX";

/* In the order of a G3 disk; the tests take what they want of it. */
static const TestPart g3[] = {
        { "EFI-SYSTEM", DISK_TYPE_ESP, "11111111-2222-3333-4444-555555555555", MIB, 0 },
        { "USR-A", DISK_TYPE_FLATCAR_ROOTFS, "7130c94a-213a-4e5a-8e26-6cce9662f132", MIB, 0 },
        { "HASH-A", X86_HASH, "b736baf1-cdb4-4535-beba-ddaaa30ad7b7", MIB, 0 },
        { "HASH-SIG-A", X86_SIG, "3514648f-e3da-44ae-89ba-8d0552418f88", MIB, 0 },
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", MIB, 0 },
        { "HASH-B", X86_HASH, "35bdf78b-c453-4661-98e6-f834f534ef5b", MIB, 0 },
        { "HASH-SIG-B", X86_SIG, "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4", MIB, 0 },
        { "OEM", DATA, "22222222-2222-3333-4444-555555555555", MIB, 0 },
};
enum { ESP, USR_A, HASH_A, SIG_A, USR_B, HASH_B, SIG_B, OEM };
#define BIT(x) (1u << (x))
#define G1     (BIT(ESP) | BIT(USR_A) | BIT(USR_B) | BIT(OEM))
#define G2     (G1 | BIT(HASH_A) | BIT(HASH_B))
#define G3     (G2 | BIT(SIG_A) | BIT(SIG_B))

/* A disk of some of the partitions, one of which may be different. */
static Disk *make(unsigned which, int changed, const char *label, const char *type, const char *uuid)
{
        static Env env = { .root_fd = -1 };
        TestPart parts[ELEMENTSOF(g3)];
        Disk *disk = NULL;
        Why why = { 0 };
        size_t n = 0;

        for (unsigned i = 0; i < ELEMENTSOF(g3); i++) {
                if (!(which & BIT(i)))
                        continue;
                parts[n] = g3[i];
                if (changed == (int) i && label)
                        parts[n].label = label;
                if (changed == (int) i && type)
                        parts[n].type = type;
                if (changed == (int) i && uuid)
                        parts[n].uuid = uuid;
                n++;
        }
        if (env.root_fd < 0)
                assert(env_open("/tmp", &env, NULL) >= 0);
        test_disk_make(image, 16 * MIB, 512, parts, n);
        if (disk_open(&env, image, false, &disk, &why) < 0)
                fprintf(stderr, "%s\n", why.text);
        assert(disk);
        return disk;
}

static void test_generations(void)
{
        static const struct {
                unsigned which;
                SlotLayoutKind kind;
                const char *generation;
        } cases[] = {
                { G1, SLOT_LAYOUT_ACL, "G1 inline" },         { G2, SLOT_LAYOUT_ACL, "G2 separate hash" },
                { G3, SLOT_LAYOUT_ACL, "G3 signed-capable" }, { G1, SLOT_LAYOUT_FLATCAR, "flatcar" },
                { G3, SLOT_LAYOUT_FLATCAR, "flatcar" }, /* more partitions than Flatcar has: not its business */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Disk *disk = make(cases[i].which, -1, NULL, NULL, NULL);
                SlotConfig config = { .kind = cases[i].kind };
                SlotLayout l = { 0 };
                bool separate = cases[i].which != G1 && cases[i].kind == SLOT_LAYOUT_ACL;

                assert(slot_layout(disk, &config, &l, NULL) >= 0 && streq(l.generation, cases[i].generation));
                assert(streq(l.slot[SLOT_A].data->label, "USR-A") &&
                       streq(l.slot[SLOT_B].data->label, "USR-B"));
                assert(!l.slot[SLOT_A].hash == !separate && !l.slot[SLOT_B].hash == !separate);
                assert(!l.slot[SLOT_B].sig == !(separate && cases[i].which == G3));
                if (separate)
                        assert(streq(l.slot[SLOT_B].hash->label, "HASH-B"));
                disk_free(disk);
        }
}

static void test_refused(void)
{
        static const struct {
                unsigned which;
                int changed;
                const char *label, *type, *uuid, *says;
        } cases[] = {
                { G3 & ~BIT(USR_B), -1, NULL, NULL, NULL, "no USR-B" },
                { BIT(ESP) | BIT(OEM), -1, NULL, NULL, NULL, "no USR-A and USR-B" },
                { G2 & ~BIT(HASH_A), -1, NULL, NULL, NULL, "no HASH-A" },
                { G3 & ~BIT(SIG_B), -1, NULL, NULL, NULL, "no HASH-SIG-B" },
                { G1 | BIT(SIG_A) | BIT(SIG_B), -1, NULL, NULL, NULL, "no HASH-A" },
                { G3, USR_B, "USR-C", NULL, NULL, "USR-C" },
                { G3, USR_B, NULL, NULL, "e03dd35c-7c2d-4a47-b3fe-27f15780a57d", "PARTUUID" },
                { G3, USR_A, NULL, DATA, NULL, "partition type" },
                { G3, HASH_A, "HASH-X", NULL, NULL, "HASH-X" },
                { G3, HASH_B, NULL, NULL, "35bdf78b-c453-4661-98e6-f834f534ef5c", "PARTUUID" },
                { G3, HASH_B, NULL, DATA, NULL, "partition type" },
                { G3, HASH_B, NULL, ARM_HASH, NULL, "different machines" },
                { G3, SIG_B, NULL, X86_HASH, NULL, "partition type" },
                { G3, SIG_A, NULL, ARM_SIG, NULL, "different machines" },
                { G3, OEM, "USR-A", NULL, NULL, "2 partitions are named USR-A" },
                { G3, OEM, "HASH-SIG-A", NULL, NULL, "2 partitions" },
                { G1, OEM, "HASH-A", NULL, NULL, "PARTUUID" }, /* something else has that name */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Disk *disk =
                        make(cases[i].which, cases[i].changed, cases[i].label, cases[i].type, cases[i].uuid);
                SlotConfig config = { .kind = SLOT_LAYOUT_ACL };
                SlotLayout l = { .generation = "untouched" };
                Why why = { 0 };
                int r = slot_layout(disk, &config, &l, &why);

                if (r >= 0 || !strstr(why.text, cases[i].says))
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert(r < 0 && why.kind == WHY_HOST && strstr(why.text, cases[i].says));
                assert(streq(l.generation, "untouched"));
                disk_free(disk);
        }
}

static void test_aarch64(void)
{
        static Env env = { .root_fd = -1 };
        TestPart parts[ELEMENTSOF(g3)];
        SlotConfig config = { .kind = SLOT_LAYOUT_ACL };
        SlotLayout l;
        Disk *disk = NULL;

        memcpy(parts, g3, sizeof(g3));
        parts[HASH_A].type = parts[HASH_B].type = ARM_HASH;
        parts[SIG_A].type = parts[SIG_B].type = ARM_SIG;
        assert(env_open("/tmp", &env, NULL) >= 0);
        test_disk_make(image, 16 * MIB, 512, parts, ELEMENTSOF(parts));
        assert(disk_open(&env, image, false, &disk, NULL) >= 0);
        assert(slot_layout(disk, &config, &l, NULL) >= 0 && streq(l.generation, "G3 signed-capable"));
        disk_free(disk);
        env_done(&env);
}

static void select_label(SlotSelector *s, const char *label, const char *uuid)
{
        s->label = label ? strdup(label) : NULL;
        s->partuuid = uuid ? strdup(uuid) : NULL;
}

static void test_custom(void)
{
        static const struct {
                const char *a, *a_uuid, *b, *a_hash, *b_hash;
                const char *says; /* NULL: good */
        } cases[] = {
                { "USR-A", NULL, "USR-B", "HASH-A", "HASH-B", NULL },
                { "USR-A", NULL, "USR-B", NULL, NULL, NULL },
                { NULL, "7130C94A-213A-4E5A-8E26-6CCE9662F132", "OEM", NULL, NULL, NULL },
                { "USR-A", "7130c94a-213a-4e5a-8e26-6cce9662f132", "OEM", NULL, NULL, NULL },
                { "USR-A", "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", "OEM", NULL, NULL, "is named \"USR-B\"" },
                { "USR-A", NULL, "USR-A", NULL, NULL, "twice" },
                { "USR-A", NULL, "USR-B", "HASH-A", "HASH-A", "twice" },
                { "USR-A", NULL, "USR-B", "HASH-A", NULL, "the other has not" },
                { "USR-A", NULL, "nowhere", NULL, NULL, "no partition nowhere" },
                { "USR-A", NULL, NULL, NULL, NULL, "slots.b.data is missing" },
                { "two", NULL, "USR-B", NULL, NULL, "2 partitions" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Disk *disk = i + 1 == ELEMENTSOF(cases) ? make(G3, HASH_A, "two", NULL, NULL)
                                                        : make(G3, -1, NULL, NULL, NULL);
                SlotConfig config = { .kind = SLOT_LAYOUT_CUSTOM };
                SlotLayout l;
                Why why = { 0 };
                int r;

                if (i + 1 == ELEMENTSOF(cases)) {
                        disk_free(disk);
                        /* the same label twice is a fine table, only not a name */
                        TestPart parts[ELEMENTSOF(g3)];
                        static Env env = { .root_fd = -1 };

                        memcpy(parts, g3, sizeof(g3));
                        parts[HASH_A].label = parts[HASH_B].label = "two";
                        if (env.root_fd < 0)
                                assert(env_open("/tmp", &env, NULL) >= 0);
                        test_disk_make(image, 16 * MIB, 512, parts, ELEMENTSOF(parts));
                        assert(disk_open(&env, image, false, &disk, NULL) >= 0);
                }
                select_label(&config.custom[SLOT_A].data, cases[i].a, cases[i].a_uuid);
                select_label(&config.custom[SLOT_B].data, cases[i].b, NULL);
                select_label(&config.custom[SLOT_A].hash, cases[i].a_hash, NULL);
                select_label(&config.custom[SLOT_B].hash, cases[i].b_hash, NULL);
                r = slot_layout(disk, &config, &l, &why);
                if ((r >= 0) != !cases[i].says || (cases[i].says && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert(cases[i].says ? r < 0 && strstr(why.text, cases[i].says) != NULL : r >= 0);
                slot_config_done(&config);
                assert(!config.custom[SLOT_A].data.label);
                disk_free(disk);
        }
}

int main(void)
{
        int fd = mkstemp(image);

        assert(fd >= 0 && close(fd) == 0);
        assert(slot_from_name("a") == SLOT_A && slot_from_name("b") == SLOT_B && slot_from_name("A") < 0);
        assert(slot_from_name(NULL) < 0 && streq(slot_name(slot_other(SLOT_A)), "b"));
        test_generations();
        test_refused();
        test_aarch64();
        test_custom();
        assert(unlink(image) == 0);
        return 0;
}
