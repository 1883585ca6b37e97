/* SPDX-License-Identifier: MIT */
#pragma once

/* May we, and when? The rules an operator wrote, as values, and the three doors they guard. Pure but for reading the drop-ins
 * (policy.d, *.json) of /usr/lib/gybe, /etc/gybe and /run/gybe in that order, with the time zones they name, and for editing
 * the one file that gybe writes itself. Knows releases by version, serial and time; refuses to know slots, disks, boot
 * loaders and who carries a verdict out. formats.md section 6.
 *
 * Merging: a later file replaces what it says and leaves the rest; rollout, pressure and reboot merge field by field; null
 * takes an earlier file's word back ("hold": null). hold is one value: who holds says until when and why in the same file.
 *
 * A file that cannot be read or understood is left out whole and said; until it is repaired the doors do not open by
 * themselves, since it may have held the one rule that mattered: Policy.broken. */

#include "base/env.h"
#include "base/json.h"

#define POLICY_OPERATOR_DIR  "/etc/gybe/policy.d"
#define POLICY_OPERATOR_NAME "90-operator.json" /* what gybe pin, hold and skip write */

/* What may be done without a person. Each level includes those before it. */
typedef enum PolicyAutomation {
        POLICY_AUTO_CHECK,    /* look for releases */
        POLICY_AUTO_STAGE,    /* bring them into the spare slot */
        POLICY_AUTO_FINALIZE, /* arm the next boot, whoever reboots */
        POLICY_AUTO_FULL,     /* reboot, too */
        _POLICY_AUTO_MAX,
        _POLICY_AUTO_INVALID = -22,
} PolicyAutomation;

typedef enum PolicyCoordinator {
        POLICY_COORD_NONE,
        POLICY_COORD_KURED,
        POLICY_COORD_FLEETLOCK,
        POLICY_COORD_HOOK,
        POLICY_COORD_DBUS, /* whoever watches com.coreos.update1: locksmithd, FLUO */
        _POLICY_COORD_MAX,
        _POLICY_COORD_INVALID = -22,
} PolicyCoordinator;

/* Fields that remember which file set them. */
typedef enum PolicyField {
        POLICY_FIELD_CHANNEL,
        POLICY_FIELD_AUTOMATION,
        POLICY_FIELD_PIN,
        POLICY_FIELD_SKIP,
        POLICY_FIELD_HOLD,
        POLICY_FIELD_MINIMUM_AGE,
        POLICY_FIELD_ROLLOUT_PERCENT,
        POLICY_FIELD_ROLLOUT_RAMP,
        POLICY_FIELD_WINDOWS,
        POLICY_FIELD_ATTEMPTS,
        POLICY_FIELD_SOAK,
        POLICY_FIELD_DEADLINE,
        POLICY_FIELD_REQUIRE,
        POLICY_FIELD_BANDWIDTH,
        POLICY_FIELD_PRESSURE_IO,
        POLICY_FIELD_PRESSURE_CPU,
        POLICY_FIELD_PRESSURE_MEMORY,
        POLICY_FIELD_REBOOT_COORDINATOR,
        POLICY_FIELD_REBOOT_URL,
        POLICY_FIELD_REBOOT_GROUP,
        POLICY_FIELD_REBOOT_ID,
        POLICY_FIELD_REBOOT_HOOK,
        POLICY_FIELD_REBOOT_TIMEOUT,
        _POLICY_FIELD_MAX,
        _POLICY_FIELD_INVALID = -22,
} PolicyField;

typedef struct PolicyZone PolicyZone; /* what a clock on the wall shows: zone.h */

/* Open whenever a clock on the wall of that zone shows a time from start (included) to end (not included) on one of the
 * days, or in the night that begins on one of them when end is not later than start. So a time that the clock jumps over in
 * spring does not happen, and one that it shows twice in autumn is open twice. */
typedef struct PolicyWindow {
        unsigned days; /* bit 0: Sunday ... bit 6: Saturday; the day on which it opens */
        uint32_t start_sec, length_sec;
        char *timezone;         /* as written; NULL: the host's */
        const PolicyZone *zone; /* NULL: could not be read; such a window never opens */
} PolicyWindow;

typedef struct PolicyReboot {
        PolicyCoordinator coordinator;
        char *url, *group, *id; /* fleetlock */
        char *hook;             /* absolute path of a program */
        uint64_t timeout_sec;   /* of one question to the coordinator; 0: the coordinator's own */
} PolicyReboot;

typedef struct Policy {
        unsigned attempts;     /* one-shots an image gets when nothing proves it bad */
        uint64_t deadline_sec; /* from the start of a trial boot to its commit; 0: no deadline */
        uint64_t soak_sec;     /* how long a slot on trial must stay healthy before it is kept */
        PolicyAutomation automation;
        char *channel; /* instead of the one in gybe.json; NULL not set */
        char *pin;     /* only this version */
        char **skip;   /* never these */
        bool held;
        uint64_t hold_until; /* UINT64_MAX: until somebody says otherwise */
        char *hold_reason, *hold_by;
        uint64_t minimum_age_sec; /* since the release was issued */
        unsigned rollout_percent; /* of the hosts */
        uint64_t rollout_ramp_sec;
        PolicyWindow *windows; /* none: always open */
        size_t n_windows;
        uint64_t bandwidth; /* bytes a second; 0 no limit */
        struct {
                unsigned io, cpu, memory; /* percent of time some task waited; 0 not asked */
        } pressure;
        PolicyReboot reboot;
        char **require; /* guarantees of the way back that must hold before finalize */

        /* where it came from */
        char **files;                     /* the good ones, in the order they were read */
        unsigned from[_POLICY_FIELD_MAX]; /* index into files plus one; 0 the default */
        char **unknown;     /* "FILE: FIELD" that this version does not know: ignored, and said */
        char *broken;       /* the first file or zone that could not be used; NULL all were */
        PolicyZone **zones; /* owned; windows point into it */
        size_t n_zones;
} Policy;

#define POLICY_DEFAULT                                                                                       \
        (Policy)                                                                                             \
        {                                                                                                    \
                .attempts = 2, .deadline_sec = 15 * 60, .soak_sec = 5 * 60, .automation = POLICY_AUTO_STAGE, \
                .rollout_percent = 100, .pressure = {                                                        \
                        .io = 20,                                                                            \
                        .memory = 10                                                                         \
                }                                                                                            \
        }

/* What the three doors are asked about: one release on one host. Strings are borrowed. */
typedef struct PolicySubject {
        const char *version;    /* NULL: no release is at hand; then only rules that need none are asked */
        uint64_t serial;        /* 0 unknown; for people only */
        uint64_t issued;        /* 0 unknown: neither an age nor a place in a ramp follows from it */
        const char *machine_id; /* decides the place in a wave; NULL unknown: the last one of each */
        bool unattended; /* the agent asks: the automation level counts. A person who types is the automation. */
        bool override; /* a person said so, on the record: windows, waves, age and holds do not count */
} PolicySubject;

typedef enum PolicyDoor {
        POLICY_FETCH,    /* may its bytes come here? */
        POLICY_FINALIZE, /* may the next boot try it? */
        POLICY_REBOOT,   /* may the machine reboot for it? */
        _POLICY_DOOR_MAX,
        _POLICY_DOOR_INVALID = -22,
} PolicyDoor;

typedef enum PolicyAnswer {
        POLICY_GO,
        POLICY_WAIT,  /* until verdict.until; UINT64_MAX: until somebody changes a rule */
        POLICY_NEVER, /* not this release under these rules */
        _POLICY_ANSWER_MAX,
        _POLICY_ANSWER_INVALID = -22,
} PolicyAnswer;

/* In the order in which they are told. Names as in the files; also the codes of refusals. */
typedef enum PolicyRule {
        POLICY_RULE_FILES, /* "policy-file": a file was left out, so nothing is done unattended */
        POLICY_RULE_AUTOMATION,
        POLICY_RULE_PIN,
        POLICY_RULE_SKIP,
        POLICY_RULE_HOLD,
        POLICY_RULE_MINIMUM_AGE,
        POLICY_RULE_ROLLOUT,
        POLICY_RULE_WINDOW,
        _POLICY_RULE_MAX,
        _POLICY_RULE_INVALID = -22,
} PolicyRule;

typedef struct PolicyVerdict {
        PolicyAnswer answer;
        uint64_t until;    /* with WAIT: the first instant at which every rule of this door says go */
        const char *rule;  /* policy_rule_name() of the one that speaks; NULL with GO */
        char because[512]; /* one sentence for people; "" with GO */
        unsigned overrode; /* 1 << PolicyRule of those that would have said no, but for subject->override */
} PolicyVerdict;

/* --- life cycle --- */

void policy_done(Policy *policy);
/* Adds a file's rules to *policy, all of them or (-EINVAL and a sentence) none. Pure. Zones stay unread. */
int policy_parse(const void *data, size_t size, const char *what, Policy *policy, Why *why);
/* The default, then every drop-in, then the zones. What is wrong is said (the first of it in *why, which may be NULL), left
 * out, and remembered in ->broken; negative is only a machine without memory. */
int policy_load(const Env *env, Policy *ret, Why *why);

/* The host's identity in a rollout, /etc/machine-id: 32 hex digits, or NULL where there is none. */
int policy_machine_id(const Env *env, char **ret);

/* --- questions: pure --- */

const char *policy_door_name(PolicyDoor door);
const char *policy_answer_name(PolicyAnswer answer);
const char *policy_rule_name(PolicyRule rule);
const char *policy_field_name(PolicyField field); /* "rollout.ramp" */
const char *policy_automation_name(PolicyAutomation level);
const char *policy_coordinator_name(PolicyCoordinator coordinator);
/* The file that set it; NULL: the default. */
const char *policy_source(const Policy *policy, PolicyField field);

/* NEVER before WAIT; among the waits the rule with the latest time speaks. */
void policy_ask(const Policy *policy, PolicyDoor door, const PolicySubject *subject, uint64_t now,
                PolicyVerdict *ret);
/* The same as a refusal: 0, or -EPERM with WHY_POLICY, the rule as code, and when it opens as hint. *overrode (may be NULL)
 * gets the rules that the subject's override passed added. */
int policy_require(const Policy *policy, PolicyDoor door, const PolicySubject *subject, uint64_t now,
                   unsigned *overrode, Why *why);
/* The next instant at which some rule says something else about this subject by itself; UINT64_MAX: none. */
uint64_t policy_next_change(const Policy *policy, const PolicySubject *subject, uint64_t now);
/* Names of the rules in such a set, for the record. */
Json *policy_rules_json(unsigned rules);
/* What an operator has chosen among versions, as "pin" and "skip" of a document; absent where there is none. */
void policy_choices_json(const Policy *policy, Json *document);

/* The document "gybe.policy/1": each rule's verdict now with its value, file and next change; the three doors; every field
 * with its file. NULL: no memory. */
Json *policy_explain(const Policy *policy, const PolicySubject *subject, uint64_t now);
/* The same for a terminal of 80 columns. */
char *policy_explain_text(const Json *explanation);

/* --- changes: the operator's drop-in --- */

typedef enum PolicyVerb {
        POLICY_PIN,
        POLICY_UNPIN,
        POLICY_HOLD,
        POLICY_UNHOLD,
        POLICY_SKIP,
        POLICY_UNSKIP,
        _POLICY_VERB_MAX,
        _POLICY_VERB_INVALID = -22,
} PolicyVerb;

const char *policy_verb_name(PolicyVerb verb);
PolicyVerb policy_verb_from_name(const char *name);

/* Strings are borrowed. */
typedef struct PolicyChange {
        PolicyVerb verb;
        const char *version;     /* pin, skip, unskip */
        uint64_t until;          /* hold; UINT64_MAX: until somebody says otherwise */
        const char *reason, *by; /* hold; may be NULL */
} PolicyChange;

/* Writes POLICY_OPERATOR_DIR/POLICY_OPERATOR_NAME by atomic replace, so that with all other files the host does what was said.
 * 1 written, 0 it was so already. -EPERM with WHY_POLICY ("overruled") when a file that is read later says otherwise; -EINVAL
 * for a file of ours that cannot be read. What the file said otherwise stays, comments do not. */
int policy_edit(const Env *env, const PolicyChange *change, Why *why);
