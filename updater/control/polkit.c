/* SPDX-License-Identifier: MIT */

#include "control/polkit.h"
#include "base/str.h"

#include <errno.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_US   (30u * 1000000u)
#define PASSWORD_TIMEOUT_US (180u * 1000000u) /* a person types */
#define FLAG_INTERACTIVE    1u                /* of CheckAuthorization */

typedef struct Question {
        Polkit *polkit;
        sd_bus_slot *slot; /* NULL: free */
        sd_bus_message *call;
        uint64_t uid;
        PolkitDecided decided;
        void (*drop)(void *ctx);
        void *ctx;
} Question;

struct Polkit {
        sd_bus *bus;
        Question open[POLKIT_OPEN_MAX];
};

static void question_done(Question *q)
{
        Polkit *polkit = q->polkit;

        if (q->ctx && q->drop)
                q->drop(q->ctx);
        sd_bus_slot_unref(q->slot);
        sd_bus_message_unref(q->call);
        *q = (Question){ .polkit = polkit };
}

int polkit_open(sd_bus *bus, Polkit **ret)
{
        Polkit *p = calloc(1, sizeof(*p));

        if (!p)
                return -ENOMEM;
        p->bus = bus;
        for (size_t i = 0; i < ELEMENTSOF(p->open); i++)
                p->open[i].polkit = p;
        *ret = p;
        return 0;
}

Polkit *polkit_free(Polkit *p)
{
        for (size_t i = 0; p && i < ELEMENTSOF(p->open); i++)
                if (p->open[i].slot)
                        question_done(&p->open[i]);
        free(p);
        return NULL;
}

void polkit_freep(Polkit **p)
{
        *p = polkit_free(*p);
}

static Question *question_new(Polkit *p, uint64_t uid, Why *why)
{
        Question *unused = NULL;
        unsigned all = 0, own = 0;

        for (size_t i = 0; i < ELEMENTSOF(p->open); i++) {
                if (!p->open[i].slot) {
                        unused = &p->open[i];
                        continue;
                }
                all++;
                own += p->open[i].uid == uid;
        }
        if (unused && own < POLKIT_OPEN_PER_UID)
                return unused;
        (void) fail(why, -EBUSY, WHY_BUSY, "too-many-questions",
                    "polkit: %u questions of user %llu wait for an answer already", unused ? own : all,
                    (unsigned long long) uid);
        (void) fail_hint(why, -EBUSY, "answer the password prompts that are open, or try again");
        return NULL;
}

static int refuse(Why *why, const char *code, const char *because, const char *hint)
{
        (void) fail(why, -EACCES, WHY_HOST, code, "not authorized: %s", because);
        return fail_hint(why, -EACCES, "%s", hint);
}

/* 1 or 0. Whatever cannot be understood is a no. */
static int judge(sd_bus_message *answer, bool interactive, Why *why)
{
        const sd_bus_error *e = sd_bus_message_get_error(answer);
        int granted = 0, challenge = 0;

        if (e && (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                  sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER)))
                (void) refuse(why, POLKIT_MISSING,
                              "polkit does not run here, so only root may change anything", "run it as root");
        else if (e)
                (void) refuse(why, "no-polkit", e->message && e->message[0] ? e->message : e->name,
                              "run it as root");
        else if (sd_bus_message_enter_container(answer, 'r', "bba{ss}") < 0 ||
                 sd_bus_message_read(answer, "bb", &granted, &challenge) < 0)
                (void) refuse(why, "no-polkit", "polkit's answer cannot be understood", "run it as root");
        else if (granted)
                return 1;
        else if (challenge && !interactive)
                (void) refuse(why, "password-wanted", "an administrator has to authenticate for this",
                              "run it as root, or from a terminal where polkit can ask");
        else
                (void) refuse(why, "not-authorized", "polkit says no", "run it as root");
        return 0;
}

static int on_answer(sd_bus_message *answer, void *userdata, sd_bus_error *error _unused_)
{
        Question *q = userdata;
        sd_bus_message *call = TAKE(q->call);
        PolkitDecided decided = q->decided;
        void *ctx = TAKE(q->ctx);
        Why why = { 0 };
        int granted = judge(answer, sd_bus_message_get_allow_interactive_authorization(call) > 0, &why);

        question_done(q); /* the place is free before anything else happens */
        decided(ctx, call, granted, &why);
        sd_bus_message_unref(call);
        return 0;
}

int polkit_ask(Polkit *p, sd_bus_message *call, uint64_t uid, const char *action, PolkitDecided decided,
               void (*drop)(void *ctx), void *ctx, Why *why)
{
        bool interactive = sd_bus_message_get_allow_interactive_authorization(call) > 0;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *sender = sd_bus_message_get_sender(call);
        Question *q;
        int r;

        if (uid == 0 || uid == geteuid())
                return 1;
        if (!sender) /* a connection without a bus in between has no name that polkit could look up */
                return refuse(why, "not-authorized", "the caller has no name", "use the system bus");
        q = question_new(p, uid, why);
        if (!q)
                return -EBUSY;
        r = sd_bus_message_new_method_call(p->bus, &m, "org.freedesktop.PolicyKit1",
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s", sender,
                                          action, 0, interactive ? FLAG_INTERACTIVE : 0, "");
        if (r >= 0)
                r = sd_bus_call_async(p->bus, &q->slot, m, on_answer, q,
                                      interactive ? PASSWORD_TIMEOUT_US : ANSWER_TIMEOUT_US);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "asking polkit");
        q->call = sd_bus_message_ref(call);
        q->uid = uid;
        q->decided = decided;
        q->drop = drop;
        q->ctx = ctx;
        return 0;
}
