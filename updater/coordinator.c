/* SPDX-License-Identifier: MIT */

#include "coordinator.h"
#include "base/str.h"
#include "base/url.h"
#include "control/fleetlock.h"
#include "control/hostid.h"
#include "control/lockhook.h"

#include <errno.h>
#include <stdio.h>

#define ANSWER_MAX (16u * 1024u)

static const char *const names[_POLICY_COORD_MAX] = {
        [POLICY_COORD_FLEETLOCK] = "fleetlock",
        [POLICY_COORD_HOOK] = "hook",
};

void coordinator_name(const RebootLock *lock, char *out, size_t size)
{
        char url[160];

        if (!streq0(lock->coordinator, names[POLICY_COORD_FLEETLOCK])) {
                (void) snprintf(out, size, "%.160s", lock->hook ? lock->hook : "?");
                return;
        }
        url_redact(lock->url ? lock->url : "?", url, sizeof(url));
        (void) snprintf(out, size, "%s (group %.40s)", url, lock->group ? lock->group : "?");
}

/* --- where --- */

static int copy(const char *from, char **ret)
{
        *ret = from ? strdup(from) : NULL;
        return from && !*ret ? -ENOMEM : 0;
}

static int host_name(const Update *u, const char *configured, char **ret, Why *why)
{
        char id[HOSTID_SIZE];

        if (configured)
                return copy(configured, ret);
        if (!u->host.machine_id || hostid(u->host.machine_id, id) < 0)
                return fail_hint(why,
                                 fail(why, -ENODATA, WHY_HOST, "no-machine-id",
                                      "reboot lock: this host's machine id is unknown"),
                                 "set reboot.id in the policy");
        return copy(id, ret);
}

int coordinator_lock(const Update *u, RebootLock *ret, Why *why)
{
        const PolicyReboot *p = &u->host.policy.reboot;
        _cleanup_(reboot_lock_done) RebootLock lock = { 0 };
        int r;

        if (!names[p->coordinator])
                return 0;
        r = copy(names[p->coordinator], &lock.coordinator);
        if (r >= 0)
                r = copy(u->host.journal.update_id, &lock.update_id);
        if (r >= 0 && p->coordinator == POLICY_COORD_HOOK)
                r = copy(p->hook, &lock.hook);
        else if (r >= 0 && (r = copy(p->url, &lock.url)) >= 0 &&
                 (r = copy(p->group ? p->group : FLEETLOCK_GROUP_DEFAULT, &lock.group)) >= 0)
                r = host_name(u, p->id, &lock.id, why);
        if (r < 0)
                return r;
        *ret = lock;
        lock = (RebootLock){ 0 };
        return 1;
}

/* --- FleetLock --- */

/* Every answer but a yes is a no; which one decides only what is said. */
static int refused(const RebootLock *lock, const FleetlockReply *reply, Why *why)
{
        char name[240];

        coordinator_name(lock, name, sizeof(name));
        (void) fail(why, -EBUSY, WHY_POLICY, reply->taken ? "lock-held" : "lock-refused",
                    "reboot lock: %s says no: %s%s%s", name, reply->kind, reply->value[0] ? ": " : "",
                    reply->value);
        return fail_hint(why, -EBUSY, "%s",
                         reply->taken ? "others are rebooting; try again later"
                                      : "see reboot.url in the policy");
}

static int ask_fleetlock(Update *u, const RebootLock *lock, bool give_back, uint64_t timeout_sec,
                         CoordinatorReply *ret, Why *why)
{
        char *headers[] = { (char *) FLEETLOCK_HEADER, (char *) "Accept: application/json", NULL };
        _cleanup_(fetch_http_reply_done) FetchHttpReply answer = { 0 };
        _cleanup_(free_charp) char *url = NULL, *body = NULL;
        FleetlockReply reply;
        FetchHttp request = {
                .method = "POST", .headers = headers, .timeout_sec = timeout_sec, .max = ANSWER_MAX
        };
        Why net = { 0 };
        int r;

        if (!lock->url || !lock->id || !lock->group || fleetlock_body(lock->id, lock->group, &body) < 0)
                return fail(why, -EINVAL, WHY_HOST, "lock-config",
                            "reboot lock: its address, group or id cannot be one of FleetLock's");
        url = fleetlock_url(lock->url, give_back ? FLEETLOCK_STEADY_STATE : FLEETLOCK_PRE_REBOOT);
        if (!url)
                return -ENOMEM;
        request.url = url;
        request.body = body;
        r = update_fetch(u, why);
        if (r < 0)
                return r;
        r = fetch_http(u->fetch, &request, &answer, &net);
        if (r < 0) {
                ret->not_heard = streq(net.code, "unreachable");
                (void) fail(why, r, net.kind == WHY_USAGE ? WHY_HOST : net.kind, net.code,
                            "reboot lock: %.500s", net.text);
                return net.hint[0] ? fail_hint(why, r, "%s", net.hint) : r;
        }
        fleetlock_judge(answer.status, answer.body.data, answer.body.size, &reply);
        ret->not_held = reply.taken;
        ret->retry_after_sec = answer.retry_after_sec;
        return reply.success ? 0 : refused(lock, &reply, why);
}

/* --- the hook --- */

static int add_variable(char ***v, const char *name, const char *value)
{
        _cleanup_(free_charp) char *line = str_printf("%s=%s", name, value ? value : "");

        return line ? strv_add(v, line) : -ENOMEM;
}

static int make_variables(const Update *u, const RebootLock *lock, char ***ret)
{
        _cleanup_(strv_freep) char **v = NULL;
        const Journal *j = &u->host.journal;
        char slot[2] = { j->slot, 0 }, id[HOSTID_SIZE] = "";
        int r;

        if (u->host.machine_id)
                (void) hostid(u->host.machine_id, id);
        if ((r = add_variable(&v, "GYBE_UPDATE_ID", lock->update_id)) < 0 ||
            (r = add_variable(&v, "GYBE_SLOT", slot)) < 0 ||
            (r = add_variable(&v, "GYBE_VERSION", j->version)) < 0 ||
            (r = add_variable(&v, "GYBE_HOST_ID", id)) < 0)
                return r;
        *ret = TAKE(v);
        return 0;
}

static int ask_hook(Update *u, const RebootLock *lock, bool give_back, uint64_t timeout_sec,
                    CoordinatorReply *ret, Why *why)
{
        _cleanup_(strv_freep) char **variables = NULL;
        const char *word = give_back ? "unlock" : "lock";
        LockhookReply reply;
        int r;

        if (!lock->hook)
                return fail(why, -EINVAL, WHY_HOST, "lock-config", "reboot lock: no hook is named");
        r = make_variables(u, lock, &variables);
        if (r >= 0)
                r = lockhook_run(u->env, lock->hook, word, variables, timeout_sec, &reply, why);
        if (r < 0 || reply.answer == LOCKHOOK_GRANTED)
                return r;
        ret->not_held = reply.answer == LOCKHOOK_NOT_NOW && !give_back;
        if (ret->not_held)
                return fail_hint(why,
                                 fail(why, -EBUSY, WHY_POLICY, "lock-held",
                                      "reboot lock: %.200s says: not now%s%s", lock->hook,
                                      reply.text[0] ? ": " : "", reply.text),
                                 "try again later");
        return fail(why, -EIO, WHY_HOST, "lock-hook", "reboot lock: %.200s %s: %s%s%s", lock->hook, word,
                    reply.how, reply.text[0] ? ": " : "", reply.text);
}

int coordinator_ask(Update *u, const RebootLock *lock, bool give_back, uint64_t timeout_sec,
                    CoordinatorReply *ret, Why *why)
{
        CoordinatorReply reply = { 0 };
        int r;

        if (streq0(lock->coordinator, names[POLICY_COORD_FLEETLOCK]))
                r = ask_fleetlock(u, lock, give_back, timeout_sec, &reply, why);
        else if (streq0(lock->coordinator, names[POLICY_COORD_HOOK]))
                r = ask_hook(u, lock, give_back, timeout_sec, &reply, why);
        else
                r = fail(why, -ENOTSUP, WHY_HOST, "lock-config",
                         "reboot lock: this gybe knows no coordinator \"%.40s\"",
                         lock->coordinator ? lock->coordinator : "?");
        *ret = reply;
        return r;
}
