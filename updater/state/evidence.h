/* SPDX-License-Identifier: MIT */
#pragma once

/* The black box of a boot that failed: what the slot that came back can know about the one that did not hold. Its texts were
 * written by an image that is suspected, on a machine that was going down: everything is bounded, everything is made
 * printable, and nothing in it is believed but what speaks against that image itself. The reason codes of state.h say what
 * follows; the cause says in one line what happened. Kinds of causes, in the order in which they are looked for:
 *
 *      health      a required health check failed, and which                            proves the image bad
 *      deadline    nobody committed in time; what was still waiting                     proves the image bad
 *      verity      dm-verity met a block that is not what was signed: the slot was      the disk's fault: not a proof; the next
 *                  verified before it was armed, so it rotted since                     finalize verifies the slot again
 *      panic       the kernel panicked, in which stage, with which words                proves the image bad, when the crash
 *                                                                                       dump is that boot's: crash_blame()
 *      watchdog    the hardware watchdog reset the machine                              no proof
 *      rebooted    somebody rebooted it in an orderly way before it was committed       no proof
 *      unit        it stopped with a unit that did not start                            no proof
 *      silent      nothing was seen, or nothing more: power cut, reset, hang            no proof */

#include "state/state.h"

#define EVIDENCE_DIR "evidence" /* in STATE_DIR: UPDATE-ATTEMPT.json, schema gybe.evidence/1 */
#define EVIDENCE_FILE_MAX                                                                                    \
        (256u * 1024u)       /* what an operator can still read, and eight of them a disk never notices */
#define EVIDENCE_KEPT     8u /* the newest */
#define EVIDENCE_TEXT_MAX (96u * 1024u) /* one text, its end: what was said last explains it */
#define EVIDENCE_LINE_MAX 200u

/* --- what a text tells of a boot: pure --- */

typedef enum BootStage {
        STAGE_NOTHING, /* nothing was seen */
        STAGE_KERNEL,
        STAGE_INITRD,
        STAGE_SWITCH_ROOT,
        STAGE_BASIC,
        STAGE_MULTI_USER,
        STAGE_SETTLING, /* gybe was judging it, or has */
        _BOOT_STAGE_MAX,
        _BOOT_STAGE_INVALID = -22,
} BootStage;

const char *boot_stage_name(BootStage stage);

/* Lines are whole messages without time and sender; "" when there was none. */
typedef struct BootTrace {
        BootStage stage;                 /* the furthest that was seen */
        char usrhash[65];                /* of the kernel's command line */
        char panic[EVIDENCE_LINE_MAX];   /* what follows "Kernel panic - not syncing: " */
        char verity[EVIDENCE_LINE_MAX];  /* the first dm-verity error */
        char failure[EVIDENCE_LINE_MAX]; /* the first unit that failed, or what was waited for in vain */
        char last[EVIDENCE_LINE_MAX];
        bool rebooted;   /* in an orderly way */
        uint64_t uptime; /* newest time stamp, in microseconds since that kernel started; 0 none */
        bool in_initrd;  /* while scanning */
} BootTrace;

/* Printable ASCII and newlines, the last max bytes, lines cut to a sane length; NULL: no memory. */
char *evidence_tame(const void *data, size_t size, size_t max);
/* Adds what the text tells. text: tame. */
void boot_trace_scan(BootTrace *trace, const char *text);

/* Boot ids (32 hex digits) of `journalctl --list-boots`, oldest first; the last max of them. Returns how many. */
size_t boot_list_parse(const char *text, char (*ret)[33], size_t max);

/* --- crash dumps: what kernels left in pstore --- */

typedef enum CrashBlame {
        CRASH_OTHER,       /* of another boot, or nobody can say */
        CRASH_BY_TIME,     /* of a boot that began after the trial was armed */
        CRASH_BY_KERNEL,   /* and its kernel is the target's, not the old slot's */
        CRASH_BY_ROOTHASH, /* its command line says so */
        _CRASH_BLAME_MAX,
} CrashBlame;

const char *crash_blame_name(CrashBlame blame); /* "other", "time", "kernel", "roothash" */

typedef struct CrashDump {
        char *name;      /* where it lies, for people */
        char **files;    /* its files in /sys/fs/pstore; NULL: archived by systemd-pstore */
        uint64_t time;   /* when it was written, seconds since the epoch by that kernel's clock; 0 unknown */
        char *text;      /* its parts joined in order; tame */
        char sha256[65]; /* of text: known again */
        BootTrace trace;
        CrashBlame blame; /* CRASH_OTHER until somebody asked crash_blame() */
} CrashDump;

typedef struct CrashDumps {
        CrashDump *list;
        size_t n;
} CrashDumps;

/* /sys/fs/pstore and /var/lib/systemd/pstore, the same dump once. What cannot be read is left out; only memory fails. */
int crash_dumps_read(const Env *env, CrashDumps *ret);
void crash_dumps_done(CrashDumps *d);
/* Takes its files out of /sys/fs/pstore, which frees NVRAM. An archived one stays where it is. */
int crash_dump_remove(const Env *env, const CrashDump *dump);

/* What is known of the trial boot when a dump is to be blamed on it. */
typedef struct TrialBoot {
        const char *roothash;
        uint64_t armed_at;               /* 0 unknown */
        uint64_t returned_at;            /* start of the boot that looks back; 0 unknown */
        const char *kernel, *old_kernel; /* releases (uname -r) of target and running slot; NULL unknown */
        const uint64_t *others;          /* starts of boots since then that were certainly not the target's */
        size_t n_others;
} TrialBoot;

/* Whose crash is it? The command line decides where it is in the dump. Else the dump's boot (its time less its uptime) must
 * have begun after the trial was armed: the old slot's kernel, which armed it, had begun before; it must not be the start of a
 * boot that is known to be another one's; and where the kernels differ, it must not name the old slot's. Pure. */
CrashBlame crash_blame(const CrashDump *dump, const TrialBoot *trial);

/* --- the document --- */

typedef struct Evidence {
        char *update_id, *version, *entry;
        unsigned attempt;
        char slot;
        char roothash[65];
        uint64_t armed_at, found_at;
        Reason reason;
        const char *kind; /* static; "health" ... "silent" */
        char cause[2 * EVIDENCE_LINE_MAX];
        BootStage stage;
        char boot_id[33];    /* of the boot that failed; "" not found */
        bool watchdog_reset; /* the boot before this one was ended by the watchdog */
        CrashDumps dumps;
        char *journal;  /* its last lines */
        char *deadline; /* what the deadline saw */
        Json *health;   /* the report with the failing check */
        BootTrace trace;
} Evidence;

void evidence_done(Evidence *e);
/* From everything else in it: stage, kind, cause. message: what was said of the update before (NULL none). Pure. */
void evidence_conclude(Evidence *e, const char *message);
/* At most EVIDENCE_FILE_MAX bytes: the texts get shorter until it fits. */
int evidence_format(const Evidence *e, char **ret);
/* "UPDATE-ATTEMPT.json" */
void evidence_name(const char *update_id, unsigned attempt, char ret[64]);
/* Writes it and drops what is more than EVIDENCE_KEPT. */
int evidence_save(const Env *env, const Evidence *e, Why *why);
/* 1: this dump lies in another update's (or attempt's) black box already; but: the own name. */
int evidence_has_dump(const Env *env, const char *sha256, const char *but);
