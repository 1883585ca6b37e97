/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* Every reason not to write into a slot, one at a time. */

#include "base/file.h"
#include "disk/test-disk.h"
#include "slot/slot.h"

#include <errno.h>
#include <stdio.h>

static char dir[] = "/tmp/gybe-test-spare-XXXXXX";

static const TestPart parts[] = {
        { "USR-A", DISK_TYPE_FLATCAR_ROOTFS, "7130c94a-213a-4e5a-8e26-6cce9662f132", 4 * MIB, 0 },
        { "HASH-A", DISK_TYPE_USR_VERITY_X86_64, "b736baf1-cdb4-4535-beba-ddaaa30ad7b7", MIB, 0 },
        { "HASH-SIG-A", DISK_TYPE_USR_VERITY_SIG_X86_64, "3514648f-e3da-44ae-89ba-8d0552418f88", MIB, 0 },
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", 4 * MIB, 0 },
        { "HASH-B", DISK_TYPE_USR_VERITY_X86_64, "35bdf78b-c453-4661-98e6-f834f534ef5b", MIB, 0 },
        { "HASH-SIG-B", DISK_TYPE_USR_VERITY_SIG_X86_64, "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4", MIB, 0 },
};

static void put(int root, const char *name, const char *text)
{
        char folder[256];
        char *slash;

        (void) snprintf(folder, sizeof(folder), "%s", name);
        slash = strrchr(folder, '/');
        *slash = 0;
        _cleanup_(close_fdp) int fd = dir_make(root, folder, 0755);
        assert(fd >= 0 && file_replace(fd, slash + 1, text, strlen(text), 0644) >= 0);
}

int main(void)
{
        const SlotRunning a = { .known = true,
                                .slot = SLOT_A,
                                .data_partuuid = "7130c94a-213a-4e5a-8e26-6cce9662f132" };
        const SlotRunning b = { .known = true, .slot = SLOT_B };
        const SlotRunning unknown = { .known = false, .slot = SLOT_A };
        /* says A, and names B's partition: somebody is wrong */
        const SlotRunning torn = { .known = true,
                                   .slot = SLOT_A,
                                   .data_partuuid = "E03DD35C-7c2d-4a47-b3fe-27f15780a57c" };
        const struct {
                const SlotRunning *running;
                SlotNeed need;
                int how; /* 1: G1, 2: without signature, 3: slots share the signature partition */
                const char *mountinfo;
                int r;
                const char *says;
        } cases[] = {
                { &a, { 4 * MIB, MIB, MIB, false }, 0, "", 0, NULL },
                { &a, { 4096, 4096, 0, false }, 0, "", 0, NULL },
                { &a, { 3 * MIB, MIB, 0, true }, 1, "", 0, NULL },
                { &unknown, { 4096, 4096, 0, false }, 0, "", -ENXIO, "not known" },
                { &b, { 4096, 4096, 0, false }, 0, "", -EBUSY, "is the one that runs" },
                { &torn, { 4096, 4096, 0, false }, 0, "", -EBUSY, "/usr runs from" },
                { &a, { 4096, 4096, 0, false }, 3, "", -EBUSY, "HASH-SIG-A" },
                { &a, { 4 * MIB + 4096, MIB, 0, false }, 0, "", -ENOSPC, "USR-B" },
                { &a, { 4 * MIB, MIB + 4096, 0, false }, 0, "", -ENOSPC, "HASH-B" },
                { &a, { 4 * MIB, MIB, MIB + 1, false }, 0, "", -ENOSPC, "HASH-SIG-B" },
                { &a, { 3 * MIB, MIB + 4096, 0, true }, 1, "", -ENOSPC, "with its hash tree" },
                { &a, { UINT64_MAX - 4095, 8192, 0, true }, 1, "", -ENOSPC, "with its hash tree" },
                { &a, { 4096, 4096, 4096, false }, 2, "", -EMEDIUMTYPE, "no HASH-SIG" },
                { &a, { 4096, 4096, 0, true }, 0, "", -EMEDIUMTYPE, "behind the data" },
                { &a, { 4096, 4096, 0, false }, 1, "", -EMEDIUMTYPE, "apart" },
                { &a,
                  { 4096, 4096, 0, false },
                  0,
                  "9 1 8:4 / /x ro - btrfs /dev/disk/by-partlabel/USR-B ro\n",
                  -EBUSY,
                  "mounted at /x" },
                { &a,
                  { 4096, 4096, 0, false },
                  0,
                  "9 1 8:4 / /y ro - ext4 PARTLABEL=HASH-SIG-B ro\n",
                  -EBUSY,
                  "mounted at /y" },
                { &a,
                  { 4096, 4096, 0, false },
                  0,
                  "9 1 8:4 / /usr ro - btrfs /dev/disk/by-partlabel/USR-A ro\n",
                  0,
                  NULL },
        };
        _cleanup_(disk_freep) Disk *disk = NULL;
        Env env = ENV_NULL;
        SlotConfig config = { .kind = SLOT_LAYOUT_ACL };
        SlotLayout full;
        char *image;
        int root;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        image = str_printf("%s/disk.raw", dir);
        test_disk_make(image, 24 * MIB, 512, parts, ELEMENTSOF(parts));
        assert(disk_open(&env, image, false, &disk, NULL) >= 0);
        assert(slot_layout(disk, &config, &full, NULL) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                SlotLayout l = full;
                Why why = { 0 };
                int r;

                for (unsigned s = 0; s < _SLOT_MAX; s++) {
                        if (cases[i].how == 1 || cases[i].how == 2)
                                l.slot[s].sig = NULL;
                        if (cases[i].how == 1)
                                l.slot[s].hash = NULL;
                }
                if (cases[i].how == 3)
                        l.slot[SLOT_B].sig = l.slot[SLOT_A].sig;
                put(root, "proc/self/mountinfo", cases[i].mountinfo);
                r = slot_check_spare(disk, &l, cases[i].running, SLOT_B, &cases[i].need, &why);
                if (r != cases[i].r || (cases[i].says && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert(r == cases[i].r &&
                       (r == 0 || (why.kind != WHY_NONE && strstr(why.text, cases[i].says))));
        }
        (void) close(root);
        env_done(&env);
        free(image);
        root = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(dir_remove(root, dir + strlen("/tmp/")) >= 0);
        (void) close(root);
        return 0;
}
