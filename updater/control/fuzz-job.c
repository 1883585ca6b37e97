/* SPDX-License-Identifier: MIT */
#include "control/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(job_done) Job job = { 0 };
        Why why = { 0 };

        (void) job_parse(data, size, &job, &why);
        return 0;
}
