/* SPDX-License-Identifier: MIT */

#include "facts.h"
#include "blackbox.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/utsname.h>

#define OS_RELEASE_MAX (64u * 1024u)

void host_done(Host *h)
{
        config_done(&h->config);
        policy_done(&h->policy);
        boot_state_done(&h->boot_state);
        h->boot = boot_free(h->boot);
        h->disk = disk_free(h->disk);
        journal_done(&h->journal);
        trust_state_done(&h->trust);
        intent_done(&h->intent);
        free(h->boot_id);
        free(h->machine_id);
        free(h->version);
        *h = (Host){ 0 };
}

static const char *machine_arch(void)
{
        struct utsname u;

        if (uname(&u) < 0)
                return "";
        return streq(u.machine, "aarch64") ? "aarch64" : "x86_64";
}

/* The build time of the running image is a time that has certainly passed: systemd's clock-epoch where the image has one,
 * else its os-release. Both lie in /usr, which dm-verity protects. */
static uint64_t image_time(const Env *env)
{
        static const char *const files[] = { "/usr/lib/clock-epoch", "/usr/lib/os-release" };

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                _cleanup_(close_fdp) int fd = env_open_path(env, files[i], O_PATH, 0);
                struct stat st;

                if (fd >= 0 && fstat(fd, &st) >= 0 && st.st_mtim.tv_sec > 0)
                        return (uint64_t) st.st_mtim.tv_sec;
        }
        return 0;
}

/* Whether the kernel believes that somebody keeps its clock right. In a host made of files nobody can say otherwise. */
static bool clock_synchronised(const Env *env)
{
        struct timex t = { 0 };

        return !env_is_real(env) || (adjtimex(&t) >= 0 && !(t.status & STA_UNSYNC));
}

static int read_os(Host *h)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r;

        h->arch = machine_arch();
        r = env_read(h->env, h->config.version_path, OS_RELEASE_MAX, &b);
        if (r >= 0 && b.size > 0)
                h->version = os_release_get((const char *) b.data, h->config.version_key);
        r = env_read_line(h->env, "/proc/sys/kernel/random/boot_id", &h->boot_id);
        if (r == -ENOMEM)
                return r;
        return policy_machine_id(h->env, &h->machine_id);
}

/* Disk first, then layout, then who runs; each needs the one before. */
static int read_disk(Host *h, const char *disk_path)
{
        _cleanup_(free_charp) char *found = NULL;
        int r;

        r = slot_running(h->env, NULL, &h->running, NULL);
        if (r == -ENOMEM)
                return r;
        if (!disk_path) {
                if (!h->running.data_partuuid[0]) {
                        (void) fail(&h->disk_why, -ENODEV, WHY_HOST, "no-disk",
                                    "disk: the kernel command line names no /usr partition");
                        (void) fail_hint(&h->disk_why, 0, "name the disk with --disk");
                        return 0;
                }
                if (!env_is_real(h->env)) {
                        (void) fail(&h->disk_why, -ENODEV, WHY_USAGE, "no-disk",
                                    "disk: with --root the disk must be named");
                        (void) fail_hint(&h->disk_why, 0, "add --disk FILE");
                        return 0;
                }
                r = disk_path_of_partuuid(h->env, h->running.data_partuuid, &found, &h->disk_why);
                if (r < 0)
                        return r == -ENOMEM ? r : 0;
                disk_path = found;
        }
        r = disk_open(h->env, disk_path, true, &h->disk, &h->disk_why);
        if (r == -EACCES || r == -EROFS || r == -EPERM) {
                h->disk_why = (Why){ 0 };
                r = disk_open(h->env, disk_path, false, &h->disk, &h->disk_why);
        }
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        r = slot_layout(h->disk, &h->config.slots, &h->layout, &h->disk_why);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        h->has_layout = true;
        r = slot_running(h->env, &h->layout, &h->running, &h->running_why);
        return r == -ENOMEM ? r : 0;
}

static void slot_ids(const SlotParts *parts, BootSlotIds *ret)
{
        if (parts->data)
                memcpy(ret->data_partuuid, parts->data->partuuid, sizeof(ret->data_partuuid));
        if (parts->hash)
                memcpy(ret->hash_partuuid, parts->hash->partuuid, sizeof(ret->hash_partuuid));
        if (parts->sig)
                memcpy(ret->sig_partuuid, parts->sig->partuuid, sizeof(ret->sig_partuuid));
}

int host_refresh_boot(Host *h, Why *why)
{
        BootState state = { 0 };
        int r;

        r = h->boot->ops->state(h->boot, &state, why);
        if (r < 0)
                return r;
        boot_state_done(&h->boot_state);
        h->boot_state = state;
        h->has_boot_state = true;
        h->secure_boot = state.secure_boot;
        return 0;
}

static int read_boot(Host *h)
{
        BootSlotIds ids[2] = { 0 };
        int r;

        for (SlotId s = 0; h->has_layout && s < _SLOT_MAX; s++)
                slot_ids(&h->layout.slot[s], &ids[s]);
        r = boot_open(h->env, h->config.boot_loader, h->config.esp, h->disk, ids, &h->boot, &h->boot_why);
        if (r >= 0)
                r = host_refresh_boot(h, &h->boot_why);
        return r == -ENOMEM ? r : 0;
}

/* /var was lost or replaced: the copy of the intent on the ESP is a hint, and is taken for one thing only, to recognise that
 * what runs is on trial. */
static int take_hint(Host *h)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(intent_done) Intent i = { 0 };
        int r;

        if (!h->boot || h->journal.update_id)
                return 0;
        r = h->boot->ops->read_intent(h->boot, &b);
        if (r <= 0)
                return r;
        r = intent_parse(b.data, b.size, &i, NULL);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !h->running.roothash[0] || !streq(i.roothash, h->running.roothash))
                return 0;
        h->intent = i;
        h->has_intent = true;
        i = (Intent){ 0 };
        return 0;
}

/* An operator's policy may put a host into another channel without touching its configuration. */
static int take_policy_channel(Host *h)
{
        char *channel = h->policy.channel ? strdup(h->policy.channel) : NULL;

        if (!channel)
                return h->policy.channel ? -ENOMEM : 0;
        free(h->config.channel);
        h->config.channel = channel;
        return 0;
}

int host_open(const Env *env, const char *disk_path, Host *ret, Why *why)
{
        _cleanup_(host_done) Host h = { .env = env };
        int r;

        /* A mistake in /etc must not keep a slot on trial from being judged, nor an operator from going back. */
        if ((r = config_load(env, &h.config, &h.config_why)) < 0 ||
            (r = policy_load(env, &h.policy, &h.config_why)) < 0 || (r = take_policy_channel(&h)) < 0 ||
            (r = read_os(&h)) < 0 || (r = read_disk(&h, disk_path)) < 0 || (r = read_boot(&h)) < 0 ||
            (r = journal_load(env, &h.journal, &h.journal_lost, why)) < 0 ||
            (r = trust_state_load(env, &h.trust, &h.trust_lost, why)) < 0)
                return fail_errno(why, r, WHY_HOST, "reading the state of this host");
        r = intent_load(env, &h.intent, NULL);
        if (r == -ENOMEM)
                return r;
        h.has_intent = r > 0;
        if (!h.has_intent && (r = take_hint(&h)) < 0)
                return r;
        h.clock_synchronised = clock_synchronised(env);
        h.time_floor = MAX(h.trust.time_floor, image_time(env));
        if (h.secure_boot && !h.config.require_configured)
                h.config.require |= TRUST_SECUREBOOT;
        *ret = h;
        h = (Host){ 0 };
        return 0;
}

int host_require(const Host *h, Why *why)
{
        const Why *missing = !h->has_layout       ? &h->disk_why
                             : !h->running.known  ? &h->running_why
                             : !h->has_boot_state ? &h->boot_why
                                                  : NULL;

        if (!missing)
                return 0;
        if (why && why->kind == WHY_NONE)
                *why = *missing;
        return fail(why, -ENODEV, WHY_HOST, "unknown-host",
                    "this host's disk, running slot or boot loader is not known");
}

const SlotRecord *host_running_record(const Host *h)
{
        return h->running.roothash[0] ? trust_state_slot(&h->trust, h->running.roothash) : NULL;
}

static bool entry_published(const Host *h, const char *entry)
{
        return entry && boot_entry_find(&h->boot_state, entry) != NULL;
}

/* A failing verdict goes to quarantine before the reboot that follows from it, and survives a lost journal there. What
 * recovery itself condemned before it was interrupted is no verdict: the facts that it had then are there still. */
static int quarantined_target(const Host *h, Why *why)
{
        _cleanup_(free_charp) char *because = NULL;
        const Journal *j = &h->journal;
        char id[QUARANTINE_ID_SIZE];
        Reason reason;
        int r;

        if (j->roothash[0]
                    ? quarantine_id(j->roothash, j->uki_sha256, id) < 0
                    : !h->has_intent || quarantine_id(h->intent.roothash, h->intent.uki_sha256, id) < 0)
                return 0;
        r = quarantine_has(h->env, id, &because, why);
        if (r <= 0)
                return r;
        because[strcspn(because, ":")] = '\0';
        reason = reason_from_name(because); /* of a record that nobody can read: the worst */
        return reason < 0 || reason == REASON_HEALTH_FALLBACK;
}

int host_recovery_facts(Host *h, RecoveryFacts *ret, Why *why)
{
        const Journal *j = &h->journal;
        const char *entry = j->entry ? j->entry : h->has_intent ? h->intent.entry : NULL;
        const char *target = j->roothash[0] ? j->roothash : h->has_intent ? h->intent.roothash : "";
        RecoveryFacts f = {
                .running_slot = h->running.known ? (int) h->running.slot : -1,
                .running_in_trust = host_running_record(h) != NULL,
                .oneshot_set =
                        entry && h->boot_state.oneshot[0] && boot_name_equal(h->boot_state.oneshot, entry),
                .entry_published = entry_published(h, entry),
                .staged_files_present = h->boot_state.has_staged,
                .spare_verifies =
                        -1, /* reading a whole slot at every verb costs more than it tells; finalize reads it */
                .intent_present = h->has_intent && streq0(h->intent.update_id, j->update_id),
        };
        int r = 0;

        memcpy(f.running_roothash, h->running.roothash, sizeof(f.running_roothash));
        if (h->boot_id)
                (void) snprintf(f.boot_id, sizeof(f.boot_id), "%s", h->boot_id);
        if (target[0])
                r = deadline_fired(h->env, target, NULL, why);
        if (r < 0)
                return r;
        f.deadline_fired = r > 0;
        r = quarantined_target(h, why);
        if (r < 0)
                return r;
        f.failed_verdict = r > 0;
        *ret = f;
        return 0;
}

int host_foresee(Host *h, Why *why)
{
        RecoveryFacts facts = { 0 };
        Recovery rec = { 0 };
        char *message;
        int r;

        r = host_recovery_facts(h, &facts, why);
        if (r >= 0)
                r = blackbox_panicked(h);
        if (r < 0)
                return r;
        facts.panicked = r > 0;
        recovery_decide(&h->journal, h->journal_lost, h->has_intent ? &h->intent : NULL, &facts,
                        h->policy.attempts, &rec);
        /* that the reboot is still due is what the phase says already */
        if (rec.reason == REASON_NONE || rec.reason == REASON_NEVER_REBOOTED ||
            (rec.reason == h->journal.reason && rec.phase == h->journal.phase))
                return 0;
        /* a verdict that was given says more than its consequence */
        if (rec.reason != h->journal.reason || !h->journal.message) {
                message = strdup(rec.means);
                if (!message)
                        return -ENOMEM;
                free(h->journal.message);
                h->journal.message = message;
        }
        h->quarantine_due = rec.quarantine;
        h->journal.phase = rec.phase;
        h->journal.reason = rec.reason;
        if (rec.close)
                h->journal.outcome = rec.outcome;
        return 0;
}
