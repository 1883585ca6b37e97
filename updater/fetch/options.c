/* SPDX-License-Identifier: MIT */

/* Apart from the rest of the client side, for who only reads the configuration (the agent). */

#include "fetch/fetch.h"

void fetch_options_done(FetchOptions *o)
{
        free(o->ca);
        free(o->certificate);
        free(o->key);
        free(o->bearer_file);
        free(o->proxy);
        free(o->bearer_origin);
        free(o->oci_auth_file);
        free(o->arch);
        *o = (FetchOptions){ 0 };
}
