/* SPDX-License-Identifier: MIT */

/* EFI_LOAD_OPTION, the value of a Boot#### variable: attributes, a description, and a device path. Of the device path two
 * nodes matter here: the partition (HD) and the file on it. Everything else is stepped over; options of network cards and
 * firmware menus are options too.
 *
 *      HD(1,GPT,<partuuid>,0x800,0x60000)/\EFI\AZLA\BOOTX64.EFI */

#include "bootloader/efivar.h"
#include "base/str.h"

#include <errno.h>

#define OPTION_ACTIVE   1u
#define NODE_HEADER     4u
#define NODE_MEDIA      4u
#define NODE_MEDIA_HD   1u
#define NODE_MEDIA_FILE 4u
#define NODE_END        0x7fu
#define HD_SIZE         42u

static uint64_t get_le(const uint8_t *p, size_t size)
{
        uint64_t value = 0;

        for (size_t i = 0; i < size; i++)
                value |= (uint64_t) p[i] << (8 * i);
        return value;
}

static void put_le(uint8_t *p, uint64_t value, size_t size)
{
        for (size_t i = 0; i < size; i++)
                p[i] = (uint8_t) (value >> (8 * i));
}

/* A GUID's first three fields are little-endian on disk and big-endian in text. */
static void guid_swap(const uint8_t in[16], uint8_t out[16])
{
        static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

        for (size_t i = 0; i < 16; i++)
                out[i] = in[order[i]];
}

static void read_disk(const uint8_t *node, BootOption *o)
{
        uint8_t guid[16];

        if (node[40] != 2 || node[41] != 2) /* a GPT, named by GUID */
                return;
        o->has_disk = true;
        o->disk.number = (uint32_t) get_le(node + 4, 4);
        o->disk.start_lba = get_le(node + 8, 8);
        o->disk.size_lba = get_le(node + 16, 8);
        guid_swap(node + 24, guid);
        uuid_format_text(guid, o->disk.partuuid);
}

/* A path may be spread over several nodes. */
static int read_file(const uint8_t *text, size_t size, BootOption *o)
{
        _cleanup_(free_charp) char *part = NULL;
        char *joined;
        int r;

        r = utf16_decode(text, size, &part);
        if (r < 0)
                return r;
        joined = str_printf("%s%s%s", o->path ? o->path : "", o->path && *part != '\\' ? "\\" : "", part);
        if (!joined)
                return -ENOMEM;
        free(o->path);
        o->path = joined;
        return strlen(joined) <= BOOT_OPTION_PATH_MAX ? 0 : -EBADMSG;
}

static int read_nodes(const uint8_t *p, size_t size, BootOption *o)
{
        int r = 0;

        for (size_t at = 0; r >= 0 && size - at >= NODE_HEADER;) {
                const uint8_t *node = p + at;
                size_t length = (size_t) get_le(node + 2, 2);

                if (length < NODE_HEADER || length > size - at)
                        return -EBADMSG;
                if (node[0] == NODE_END)
                        return 0;
                if (node[0] == NODE_MEDIA && node[1] == NODE_MEDIA_HD && length == HD_SIZE)
                        read_disk(node, o);
                else if (node[0] == NODE_MEDIA && node[1] == NODE_MEDIA_FILE)
                        r = read_file(node + NODE_HEADER, length - NODE_HEADER, o);
                at += length;
        }
        return r < 0 ? r : -EBADMSG; /* no end node */
}

void boot_option_done(BootOption *option)
{
        free(option->description);
        free(option->path);
        *option = (BootOption){ 0 };
}

int boot_option_parse(const uint8_t *data, size_t size, BootOption *ret)
{
        _cleanup_(boot_option_done) BootOption o = { 0 };
        size_t at = 6, paths;
        int r;

        if (size < at)
                return -EBADMSG;
        o.active = get_le(data, 4) & OPTION_ACTIVE;
        paths = (size_t) get_le(data + 4, 2);
        while (at + 2 <= size && get_le(data + at, 2) != 0)
                at += 2;
        if (at + 2 > size || paths > size - at - 2)
                return -EBADMSG;
        r = utf16_decode(data + 6, at - 6, &o.description);
        if (r >= 0)
                r = read_nodes(data + at + 2, paths, &o);
        if (r < 0)
                return r;
        *ret = o;
        o = (BootOption){ 0 };
        return 0;
}

static int add_disk(Bytes *b, const EfiDisk *disk)
{
        uint8_t node[HD_SIZE] = { NODE_MEDIA, NODE_MEDIA_HD, HD_SIZE, 0 }, guid[16];

        if (uuid_parse_text(disk->partuuid, guid) < 0)
                return -EINVAL;
        put_le(node + 4, disk->number, 4);
        put_le(node + 8, disk->start_lba, 8);
        put_le(node + 16, disk->size_lba, 8);
        guid_swap(guid, node + 24);
        node[40] = node[41] = 2;
        return bytes_append(b, node, sizeof(node));
}

static int add_file(Bytes *b, const char *path)
{
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        uint8_t header[NODE_HEADER] = { NODE_MEDIA, NODE_MEDIA_FILE };
        int r;

        if (strlen(path) > BOOT_OPTION_PATH_MAX)
                return -EINVAL;
        r = utf16_encode(path, &text);
        if (r < 0)
                return r;
        put_le(header + 2, NODE_HEADER + text.size, 2);
        r = bytes_append(b, header, sizeof(header));
        return r < 0 ? r : bytes_append(b, text.data, text.size);
}

int boot_option_format(const char *description, const EfiDisk *disk, const char *path, Bytes *ret)
{
        static const uint8_t end[NODE_HEADER] = { NODE_END, 0xff, NODE_HEADER, 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL, text = BYTES_NULL, nodes = BYTES_NULL;
        uint8_t header[6] = { OPTION_ACTIVE };
        int r;

        r = utf16_encode(description, &text);
        if (r >= 0)
                r = add_disk(&nodes, disk);
        if (r >= 0)
                r = add_file(&nodes, path);
        if (r >= 0)
                r = bytes_append(&nodes, end, sizeof(end));
        if (r < 0)
                return r;
        put_le(header + 4, nodes.size, 2);
        r = bytes_append(&b, header, sizeof(header));
        if (r >= 0)
                r = bytes_append(&b, text.data, text.size);
        if (r >= 0)
                r = bytes_append(&b, nodes.data, nodes.size);
        if (r < 0)
                return r;
        *ret = b;
        b = BYTES_NULL;
        return 0;
}
