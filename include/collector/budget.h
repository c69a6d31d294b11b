/* The one memory budget: bodies being received, inflated text, records and queue, answers on their
 * way. Any thread. */
#ifndef COLLECTOR_BUDGET_H
#define COLLECTOR_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct budget;

struct budget *budget_new(size_t bytes_max);
void budget_free(struct budget *budget); /* asserts that everything was given back */
AUTO_DEFINE(struct budget, budget_free);

/* false: it would be too much, nothing was taken; the caller answers 503 with Retry-After, it never
 * waits. */
bool budget_reserve(struct budget *budget, size_t bytes) MUST_CHECK;
void budget_release(struct budget *budget, size_t bytes);
size_t budget_used(const struct budget *budget);

#endif
