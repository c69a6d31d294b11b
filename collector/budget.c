#include "collector/budget.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"

struct budget {
    size_t bytes_max;
    _Atomic size_t used;
};

struct budget *budget_new(size_t bytes_max)
{
    struct budget *budget = xcalloc(1, sizeof(*budget));

    budget->bytes_max = bytes_max;
    return budget;
}

void budget_free(struct budget *budget)
{
    if (!budget)
        return;
    assert(budget_used(budget) == 0);
    free(budget);
}

bool budget_reserve(struct budget *budget, size_t bytes)
{
    size_t used = atomic_load(&budget->used);

    do {
        if (bytes > budget->bytes_max - used)
            return false;
    } while (!atomic_compare_exchange_weak(&budget->used, &used, used + bytes));
    return true;
}

void budget_release(struct budget *budget, size_t bytes)
{
    size_t before = atomic_fetch_sub(&budget->used, bytes);

    assert(before >= bytes);
}

size_t budget_used(const struct budget *budget)
{
    return atomic_load(&budget->used);
}
