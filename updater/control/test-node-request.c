/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "control/node-request.h"
#include "control/node-status.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

#define U    "\"nodeUpdateId\":\"0a0b0c0d-1111-4222-8333-444455556666\""
#define O    "\"operationId\":\"99999999-aaaa-4bbb-8ccc-dddddddddddd\""
#define S    "\"schemaVersion\":\"1.0\""
#define HEAD S "," U "," O ","
#define REST ",\"server\":\"https://updates.example.net/v1/update\",\"appId\":\"1b2c\",\"track\":\"pin\""
#define T    ",\"targetVersion\":\"202611.3.0\""

static void test_requests(void)
{
        static const struct {
                const char *text;
                int is;
                NodeOperation operation;
                const char *says;
        } cases[] = {
                { "{" HEAD "\"operation\":\"stage\"" T REST "}", NODE_REQUEST_VALID, NODE_STAGE, NULL },
                { "{" HEAD "\"operation\":\"finalize\"" T REST "}", NODE_REQUEST_VALID, NODE_FINALIZE, NULL },
                { "{" HEAD "\"operation\":\"rollback\"}", NODE_REQUEST_VALID, NODE_ROLLBACK, NULL },
                { "{" HEAD "\"operation\":\"rollback\"" REST "}", NODE_REQUEST_VALID, NODE_ROLLBACK,
                  NULL }, /* ignored */
                { "{" HEAD "\"operation\":\"rollback\"" T "}", NODE_REQUEST_INVALID, NODE_ROLLBACK,
                  "takes no targetVersion" },
                { "{" HEAD "\"operation\":\"rollback\",\"targetVersion\":null}", NODE_REQUEST_INVALID,
                  NODE_ROLLBACK, "string" },
                { "{" HEAD "\"operation\":\"commit\"" T REST "}", NODE_REQUEST_INVALID, NODE_STAGE,
                  "commit" },
                { "{" HEAD "\"operation\":\"Stage\"" T REST "}", NODE_REQUEST_INVALID, NODE_STAGE, "Stage" },
                { "{" HEAD "\"operation\":\"stage\"" REST "}", NODE_REQUEST_INVALID, NODE_STAGE,
                  "targetVersion" },
                { "{" HEAD "\"operation\":\"stage\",\"targetVersion\":\"\"" REST "}", NODE_REQUEST_INVALID,
                  NODE_STAGE, "targetVersion" },
                { "{" HEAD "\"operation\":\"finalize\"" T "}", NODE_REQUEST_INVALID, NODE_FINALIZE,
                  "server" },
                { "{" HEAD "\"operation\":\"stage\"" T
                  ",\"server\":\"http://x/\",\"appId\":\"a\",\"track\":\"t\"}",
                  NODE_REQUEST_INVALID, NODE_STAGE, "https" },
                { "{" HEAD "\"operation\":\"stage\"" T
                  ",\"server\":\"https:///x\",\"appId\":\"a\",\"track\":\"t\"}",
                  NODE_REQUEST_INVALID, NODE_STAGE, "https" },
                { "{" HEAD "\"operation\":\"stage\"" T
                  ",\"server\":\"https://a b\",\"appId\":\"a\",\"track\":\"t\"}",
                  NODE_REQUEST_INVALID, NODE_STAGE, "https" },
                { "{" HEAD "\"operation\":\"stage\",\"extra\":\"x\"" T REST "}", NODE_REQUEST_INVALID,
                  NODE_STAGE, "extra" },
                { "{" HEAD "\"operation\":\"stage\",\"targetVersion\":7" REST "}", NODE_REQUEST_INVALID,
                  NODE_STAGE, "not a string" },
                { "{" HEAD "\"operation\":\"stage\",\"targetVersion\":\"a\\nb\"" REST "}",
                  NODE_REQUEST_INVALID, NODE_STAGE, "control" },
                { "{\"schemaVersion\":\"1.1\"," U "," O ",\"operation\":\"rollback\"}", NODE_REQUEST_INVALID,
                  NODE_ROLLBACK, "1.1" },
                { "{" U "," O ",\"operation\":\"rollback\"}", NODE_REQUEST_INVALID, NODE_ROLLBACK,
                  "schemaVersion" },
                { "{" S "," O ",\"operation\":\"rollback\"}", NODE_REQUEST_NOISE, NODE_ROLLBACK,
                  "nodeUpdateId" },
                /* no JSON, and yet somebody waits for an answer */
                { "{" HEAD "\"operation\":\"finalize\"", NODE_REQUEST_INVALID, NODE_FINALIZE,
                  "update-request" },
                { "{" HEAD "'operation':finalize}", NODE_REQUEST_INVALID, NODE_STAGE, "update-request" },
                { "{" HEAD O ",\"operation\":\"stage\"}", NODE_REQUEST_INVALID, NODE_STAGE,
                  "update-request" },
                { "{" HEAD "\"operationId\":\"11111111-aaaa-4bbb-8ccc-dddddddddddd\"}", NODE_REQUEST_NOISE,
                  NODE_STAGE, "update-request" }, /* which one? */
                { "{" HEAD "\"operation\":\"stage\",\"x\":1.5}", NODE_REQUEST_INVALID, NODE_STAGE,
                  "update-request" },
                { "", NODE_REQUEST_NOISE, NODE_STAGE, "update-request" },
                { "[]", NODE_REQUEST_NOISE, NODE_STAGE, "object" },
                { "null", NODE_REQUEST_NOISE, NODE_STAGE, "update-request" },
                { "{" S ",\"nodeUpdateId\":\"{0a0b0c0d-1111-4222-8333-444455556666}\"," O
                  ",\"operation\":\"rollback\"}",
                  NODE_REQUEST_NOISE, NODE_ROLLBACK, "nodeUpdateId" }, /* other spellings are not ours */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(node_request_done) NodeRequest q = { 0 };
                Why why = { 0 };
                int is = node_request_parse(cases[i].text, strlen(cases[i].text), &q, &why);

                assert(is == cases[i].is);
                assert(is == NODE_REQUEST_NOISE || q.operation == cases[i].operation);
                if (cases[i].says && !strstr(why.text, cases[i].says))
                        (void) fprintf(stderr, "%zu: %s\n", i, why.text);
                assert(!cases[i].says || strstr(why.text, cases[i].says));
                assert(is == NODE_REQUEST_NOISE ||
                       streq(q.operation_id, "99999999-aaaa-4bbb-8ccc-dddddddddddd"));
        }
}

static void test_too_long(void)
{
        _cleanup_(free_charp) char *text = NULL, *blanks = malloc(NODE_ANNOTATION_MAX + 1);
        _cleanup_(node_request_done) NodeRequest q = { 0 };
        Why why = { 0 };

        assert(blanks);
        memset(blanks, ' ', NODE_ANNOTATION_MAX);
        blanks[NODE_ANNOTATION_MAX] = 0;
        text = str_printf("{" HEAD "\"operation\":\"rollback\"%s}", blanks);
        assert(node_request_parse(text, strlen(text), &q, &why) == NODE_REQUEST_INVALID);
        assert(strstr(why.text, "at most 16384"));
}

static void test_messages(void)
{
        static const struct {
                size_t n;
                const char *end;
                size_t size;
        } cases[] = {
                { 2048, "x", 2048 },
                { 2049, "(truncated)", 2048 },
                { 5000, "(truncated)", 2048 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *text = malloc(cases[i].n + 1);
                _cleanup_(node_status_done) NodeStatus s = { 0 };

                memset(text, 'x', cases[i].n);
                text[cases[i].n] = 0;
                assert(node_status_say(&s, text) == 0);
                assert(strlen(s.message) == cases[i].size && str_ends(s.message, cases[i].end));
        }
        for (size_t shift = 0; shift < 4; shift++) { /* never half a character */
                _cleanup_(node_status_done) NodeStatus s = { 0 };
                _cleanup_(str_done) Str text = STR_NULL;

                for (size_t i = 0; i < shift; i++)
                        str_add(&text, "x");
                for (size_t i = 0; i < 1000; i++)
                        str_add(&text, "\xe2\x82\xac");
                assert(node_status_say(&s, text.text) == 0);
                assert(strlen(s.message) <= NODE_MESSAGE_MAX && !strchr(s.message, '?') &&
                       str_ends(s.message, "\xac... (truncated)"));
        }
}

static NodeStatus *parse(const char *text)
{
        NodeStatus *s = NULL;

        return node_status_parse(text, strlen(text), &s) == 0 ? s : NULL;
}

static void test_statuses(void)
{
#define ST                                                                                                   \
        "\"schemaVersion\":\"1.0\"," U "," O ",\"operation\":\"stage\",\"message\":\"m\",\"startedUtc\":"    \
        "\"2026-06-29T12:00:00.123456789Z\","
        _cleanup_(node_status_freep) NodeStatus *a =
                parse("{" ST "\"code\":\"Success\",\"finishedUtc\":\"2026-06-29T12:01:00Z\","
                      "\"lastUpdatedUtc\":\"2026-06-29T12:01:00Z\"}");
        _cleanup_(node_status_freep) NodeStatus *b =
                parse("{" ST "\"code\":\"Success\",\"finishedUtc\":\"2026-06-29T14:01:00+02:00\","
                      "\"lastUpdatedUtc\":\"2026-06-29T13:01:00Z\",\"tridentVersion\":\"x\"}");
        static const char *const no[] = {
                "{" ST "\"code\":\"Success\"}", /* ended when? */
                "{" ST
                "\"code\":\"InProgress\",\"finishedUtc\":\"2026-06-29T12:01:00Z\"}", /* but it did not end */
                "{" ST "\"code\":\"InProgress\",\"finishedUtc\":null,\"x\":1}",
                "{" ST "\"code\":\"Fine\",\"finishedUtc\":\"2026-06-29T12:01:00Z\"}",
                "{" ST "\"code\":\"InProgress\",\"tridentError\":{\"kind\":\"MINE\",\"subkind\":\"x\"}}",
                "{}",
                "7",
        };

        assert(a && b && node_status_same(a, b)); /* whoever wrote it last, and how it spells its times */
        b->finished++;
        assert(!node_status_same(a, b));
        for (size_t i = 0; i < ELEMENTSOF(no); i++)
                assert(!parse(no[i]));
}

int main(void)
{
        test_requests();
        test_too_long();
        test_messages();
        test_statuses();
        return 0;
}
