/* SPDX-License-Identifier: MIT */

#include "publish/cosiview.h"
#include "publish/publish.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>

#define WINDOW_LOG_MAX COSI_WINDOW_LIMIT /* an engineer's machine may spend what a host would not */
#define GPT_MAX        (4u * MIB)

void cosi_view_done(CosiView *v)
{
        boot_list_done(&v->boot);
        fetch_esp_done(&v->esp);
        cosi_done(&v->cosi);
        fetch_cosi_done(&v->file);
        (void) fetch_stop(v->fetch);
        *v = (CosiView){ 0 };
}

int cosi_view_start(const Env *env, Meter *meter, CosiView *ret, Why *why)
{
        _cleanup_(fetch_options_done) FetchOptions options = { 0 };
        int r = publish_auth_file(NULL, &options.oci_auth_file, why);

        *ret = (CosiView){ .meter = meter };
        return r < 0 ? r : fetch_start(env, &options, &ret->fetch, why);
}

int cosi_view_digest(CosiView *v, Why *why)
{
        int r = sha384_hex(v->file.metadata.data, v->file.metadata.size, v->metadata_sha384);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "SHA-384") : 0;
}

int cosi_view_parse(CosiView *v, WhyKind kind, Why *why)
{
        /* 1.0 may lack digests of images; a release covers the content */
        return cosi_parse(v->file.metadata.data, v->file.metadata.size, kind, false, &v->cosi, why);
}

int cosi_view_open(CosiView *v, const char *url, uint64_t expect_size, WhyKind kind, Why *why)
{
        int r = fetch_cosi_open(v->fetch, url, expect_size, &v->file, why);

        if (r >= 0)
                r = cosi_view_digest(v, why);
        return r < 0 ? r : cosi_view_parse(v, kind, why);
}

int cosi_view_gpt(CosiView *v, WhyKind kind, Partition **ret, size_t *ret_n, Why *why)
{
        _cleanup_(bytes_done) Bytes region = BYTES_NULL;
        Partition *parts = calloc(DISK_PARTITIONS_MAX, sizeof(*parts));
        size_t n = 0;
        int r = 0;

        if (!parts)
                return fail_errno(why, -ENOMEM, WHY_HOST, "GPT");
        if (v->cosi.n_regions > 0) {
                r = fetch_member_bytes(v->fetch, &v->cosi.regions[0].image, WINDOW_LOG_MAX, kind, GPT_MAX,
                                       &region, why);
                if (r >= 0)
                        r = gpt_parse_region(region.data, region.size, v->cosi.lba_size, parts, &n, why);
        }
        if (r < 0) {
                free(parts);
                return r;
        }
        *ret = parts;
        *ret_n = n;
        return 0;
}

/* --- files of the ESP --- */

static int digest_data(void *ctx, const void *data, size_t size, Why *why)
{
        int r = digest_update(ctx, data, size);

        return r < 0 ? fail_errno(why, r, WHY_HOST, "SHA-256") : 0;
}

static int digest_zero(void *ctx, uint64_t size, Why *why)
{
        static const uint8_t zeroes[4096];

        for (uint64_t n; size > 0; size -= n) {
                int r = digest_update(ctx, zeroes, (size_t) (n = MIN(size, (uint64_t) sizeof(zeroes))));

                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "SHA-256");
        }
        return 0;
}

int cosi_view_hash(CosiView *v, size_t i, char hex[SHA256_HEX], Why *why)
{
        Digest *digest = NULL;
        FetchSink sink = { .data = digest_data, .zero = digest_zero };
        uint8_t sum[SHA256_SIZE];
        int r = digest_new(256, &digest);

        sink.ctx = digest;
        if (r >= 0)
                r = fetch_esp_read(v->fetch, &v->esp, i, &sink, why);
        if (r >= 0)
                r = digest_final(digest, sum);
        (void) digest_free(digest);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", v->esp.files[i].path);
        hex_encode(sum, sizeof(sum), hex);
        return 0;
}

static int add_file(CosiView *v, size_t i, BootKind kind, Why *why)
{
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        char hex[SHA256_HEX];
        int r = cosi_view_hash(v, i, hex, why);

        if (r >= 0 && boot_kind_is_pe(kind))
                r = fetch_esp_pe(v->fetch, &v->esp, i, &pe, why);
        if (r < 0)
                return r;
        r = boot_list_add(&v->boot, v->esp.files[i].path, kind, v->esp.files[i].size, hex, &pe);
        return r < 0 ? fail_errno(why, r, WHY_IMAGE, "boot files of the ESP") : 0;
}

int cosi_view_boot(CosiView *v, WhyKind kind, Why *why)
{
        bool shim = false;
        int r = fetch_esp_open(v->fetch, &v->cosi.esp->image, WINDOW_LOG_MAX, kind, &v->esp, why);

        if (r < 0)
                return r;
        for (size_t i = 0; i < v->esp.n_files; i++)
                shim = shim || boot_path_is_second_stage(v->esp.files[i].path);
        for (size_t i = 0; i < v->esp.n_files; i++) {
                BootKind file_kind = boot_kind_of_path(v->esp.files[i].path, shim);

                r = file_kind == _BOOT_KIND_INVALID ? 0 : add_file(v, i, file_kind, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- superblock --- */

typedef struct Head {
        uint8_t block[VERITY_BLOCK];
        size_t size;
} Head;

static int head_data(void *ctx, const void *data, size_t size, Why *why _unused_)
{
        Head *h = ctx;
        size_t n = MIN(size, sizeof(h->block) - h->size);

        memcpy(h->block + h->size, data, n);
        h->size += n;
        return 0;
}

static int head_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        Head *h = ctx;

        h->size += (size_t) MIN(size, (uint64_t) (sizeof(h->block) - h->size));
        return 0;
}

int cosi_view_verity(CosiView *v, WhyKind kind, Why *why)
{
        Head head = { 0 };
        FetchSink sink = { head_data, head_zero, &head };
        int r;

        if (!v->cosi.usr->has_verity || v->cosi.usr->inline_verity)
                return fail(why, -EOPNOTSUPP, WHY_IMAGE, "no-verity", "/usr has no hash image of its own");
        r = fetch_member(v->fetch, &v->cosi.usr->verity, WINDOW_LOG_MAX, kind, &sink, why);
        return r < 0 ? r : verity_superblock_parse(head.block, head.size, &v->verity, why);
}
