#include "collector/submission.h"

#include <stdlib.h>

#include "collector/budget.h"
#include "collector/origin.h"

void submission_free(struct submission *submission)
{
    if (!submission)
        return;
    event_list_done(&submission->list);
    free(submission->body);
    origin_free(submission->origin);
    if (submission->bytes)
        budget_release(submission->budget, submission->bytes);
    free(submission);
}
