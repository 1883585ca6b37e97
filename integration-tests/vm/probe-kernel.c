/* SPDX-License-Identifier: MIT */
/*
 * The fake kernel of the probe tier: an EFI application that says which command line it was started with, shows the
 * EFI variables an updater cares about, and resets the machine. Wrapped by ukify into a UKI it stands where a kernel
 * would, so firmware, loader, stub and addons are all real and a boot takes two seconds.
 *
 * It speaks on COM1 directly (the firmware console wraps lines and adds escape sequences), one fact a line:
 *
 *      probe: cmdline probe=old console=ttyS0
 *      probe: var LoaderEntrySelected 6f006c0064002e006500660069000000
 *      probe: reset
 *
 * It knows nothing of any EFI library: the few structures it touches are written down here, and every other member of
 * the firmware's tables is a pointer that is only counted. `probe-hang` on the command line makes it stay for ever.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EFIAPI       __attribute__((ms_abi))
#define VARIABLE_MAX 4096u /* LoaderEntries with a dozen UKIs is far below */
#define CMDLINE_MAX  8192u /* characters; longer is cut, the stub's own limit is lower */

typedef uint64_t Status;
typedef uint16_t Char16;

typedef struct Guid {
        uint32_t a;
        uint16_t b, c;
        uint8_t d[8];
} Guid;

typedef struct LoadedImage {
        uint32_t revision;
        void *parent, *system_table, *device, *file_path, *reserved;
        uint32_t load_options_size;
        void *load_options;
} LoadedImage;

typedef struct BootServices {
        uint8_t header[24];
        void *before_handle_protocol[16];
        Status(EFIAPI *handle_protocol)(void *handle, const Guid *protocol, void **interface);
} BootServices;

typedef struct RuntimeServices {
        uint8_t header[24];
        void *before_get_variable[6];
        Status(EFIAPI *get_variable)(const Char16 *name, const Guid *vendor, uint32_t *attr, uint64_t *size,
                                     void *data);
        void *before_reset[3];
        void(EFIAPI *reset_system)(uint32_t type, Status status, uint64_t size, void *data);
} RuntimeServices;

typedef struct SystemTable {
        uint8_t header[24];
        Char16 *vendor;
        uint32_t revision;
        void *con_in_handle, *con_in, *con_out_handle, *con_out, *err_handle, *err;
        RuntimeServices *runtime;
        BootServices *boot;
} SystemTable;

static const Guid loaded_image_guid = {
        0x5b1b31a1, 0x9562, 0x11d2, { 0x8e, 0x3f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b }
};
static const Guid loader_guid = {
        0x4a67b082, 0x0a4c, 0x41cf, { 0xb6, 0xc7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f }
};
static const Guid global_guid = {
        0x8be4df61, 0x93ca, 0x11d2, { 0xaa, 0x0d, 0, 0xe0, 0x98, 0x03, 0x2b, 0x8c }
};

static void port_out(uint16_t port, uint8_t value)
{
        __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t port_in(uint16_t port)
{
        uint8_t value;

        __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
        return value;
}

static void say_char(char c)
{
        while (!(port_in(0x3fd) & 0x20)) /* transmitter holding register empty */
                ;
        port_out(0x3f8, (uint8_t) c);
}

static void say(const char *text)
{
        for (; *text; text++)
                say_char(*text);
}

static void say_hex(const uint8_t *bytes, uint64_t n)
{
        for (uint64_t i = 0; i < n; i++) {
                say_char("0123456789abcdef"[bytes[i] >> 4]);
                say_char("0123456789abcdef"[bytes[i] & 15]);
        }
}

/* Says the command line and tells whether it asks us to hang. Anything outside printable ASCII becomes '?'. */
static bool say_cmdline(const LoadedImage *image)
{
        static const char hang[] = "probe-hang";
        const Char16 *text = image->load_options;
        uint32_t n = image->load_options_size / sizeof(Char16);
        size_t matched = 0;
        bool found = false;

        say("probe: cmdline ");
        for (uint32_t i = 0; text && i < n && i < CMDLINE_MAX && text[i]; i++) {
                char c = text[i] >= 0x20 && text[i] < 0x7f ? (char) text[i] : '?';
                say_char(c);
                matched = c == hang[matched] ? matched + 1 : c == hang[0];
                if (matched == sizeof(hang) - 1) {
                        found = true;
                        matched = 0;
                }
        }
        say("\r\n");
        return found;
}

static void say_variable(RuntimeServices *rt, const Char16 *name, const Guid *vendor)
{
        uint8_t data[VARIABLE_MAX];
        uint64_t size = sizeof(data);
        uint32_t attr = 0;

        if (rt->get_variable(name, vendor, &attr, &size, data) != 0)
                return;
        say("probe: var ");
        for (const Char16 *c = name; *c; c++)
                say_char((char) *c);
        say_char(' ');
        say_hex(data, size);
        say("\r\n");
}

Status EFIAPI efi_main(void *handle, SystemTable *table)
{
        static const Char16 *const loader_names[] = {
                L"LoaderInfo",    L"LoaderEntrySelected", L"LoaderEntryOneShot", L"LoaderEntryDefault",
                L"LoaderEntries", L"LoaderBootCountPath", L"LoaderFeatures",     L"StubInfo",
        };
        static const Char16 *const global_names[] = { L"BootCurrent", L"BootNext", L"BootOrder",
                                                      L"SecureBoot" };
        RuntimeServices *rt = table->runtime;
        LoadedImage *image = NULL;
        bool hang = false;

        if (table->boot->handle_protocol(handle, &loaded_image_guid, (void **) &image) == 0)
                hang = say_cmdline(image);
        for (size_t i = 0; i < sizeof(loader_names) / sizeof(loader_names[0]); i++)
                say_variable(rt, loader_names[i], &loader_guid);
        for (size_t i = 0; i < sizeof(global_names) / sizeof(global_names[0]); i++)
                say_variable(rt, global_names[i], &global_guid);
        if (hang) {
                say("probe: hang\r\n");
                for (;;)
                        __asm__ volatile("hlt");
        }
        say("probe: reset\r\n");
        rt->reset_system(0 /* cold */, 0, 0, NULL);
        for (;;)
                ;
}
