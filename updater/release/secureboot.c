/* SPDX-License-Identifier: MIT */
#include "release/release.h"
struct SecureBoot {
        int x;
};
int secureboot_open(const Env *env _unused_, SecureBoot **ret, Why *why _unused_)
{
        *ret = calloc(1, 4);
        return 0;
}
SecureBoot *secureboot_free(SecureBoot *sb)
{
        free(sb);
        return NULL;
}
void secureboot_freep(SecureBoot **sb)
{
        free(*sb);
}
bool secureboot_enabled(const SecureBoot *sb _unused_)
{
        return false;
}
int secureboot_check(const SecureBoot *sb _unused_, const char *what _unused_, const uint8_t a[32] _unused_,
                     const Bytes *b _unused_, size_t n _unused_, const char *s _unused_, char r[65] _unused_,
                     Why *why _unused_)
{
        return -1;
}
