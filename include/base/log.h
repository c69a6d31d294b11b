/* One line an event: `time= level= event= key=value ...` to standard error. Only collector/ logs,
 * and there only the function that decides what happens next. Never a payload, a key or a DSN. Any
 * thread. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/attr.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Lines below `level` are not written. Called once at start and at a reload. */
void log_level_set(enum log_level level);

/* `fmt` starts with "event=word"; values with spaces are written by the caller as \"%s\": quotes
 * and control characters in an argument are made harmless. */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
