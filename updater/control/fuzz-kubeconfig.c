/* SPDX-License-Identifier: MIT */

/* A kubeconfig, an exec plugin's words: any bytes. What is taken is https and has no stranger in it. */

#include "control/kube-config.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(kube_credential_done) KubeCredential credential = { 0 };
        _cleanup_(kube_config_done) KubeConfig c = { 0 };
        Why why = { 0 };

        if (size > 64 * 1024)
                return 0;
        if (kube_config_parse(data, size, false, &c, &why) >= 0) {
                _cleanup_(free_charp) char *info = NULL;

                assert(str_starts(c.server, "https://") && !strchr(c.server, '@') && !strchr(c.server, '?'));
                assert(!c.exec.command || kube_exec_info(&c, &c.ca, &info) == 0);
        } else
                assert(why.kind != WHY_NONE && !c.server);
        why = (Why){ 0 };
        if (kube_credential_parse(data, size, "client.authentication.k8s.io/v1", &credential, &why) >= 0)
                assert(credential.token || credential.certificate.size > 0);
        return 0;
}
