/* SPDX-License-Identifier: MIT */

#include "control/kube-cert.h"
#include "base/str.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define PEM_MAX (256u * 1024u)
#define WHO     "system:node:"

static int common_name(X509 *x, char *ret, int size)
{
        const X509_NAME *subject = X509_get_subject_name(x);
        int n = X509_NAME_get_text_by_NID((X509_NAME *) subject, NID_commonName, ret, size);

        return n < 0 || (size_t) n != strlen(ret) ? -EBADMSG : 0;
}

int kube_cert_node(const Env *env, const char *path, char **ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char name[300] = "";
        X509 *x = NULL;
        BIO *bio;
        int r = env_read(env, path, PEM_MAX, &b);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        bio = BIO_new_mem_buf(b.data, (int) b.size);
        x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
        r = x ? common_name(x, name, sizeof(name)) : -EBADMSG;
        X509_free(x);
        BIO_free(bio);
        if (r < 0 || !str_starts(name, WHO))
                return fail(why, -EBADMSG, WHY_HOST, "kubelet-cert", "%s: this is no kubelet's certificate",
                            path);
        *ret = strdup(name + strlen(WHO));
        return *ret ? 0 : -ENOMEM;
}
