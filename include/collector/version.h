/* What `plumbline --version` and the Server header say. */
#ifndef COLLECTOR_VERSION_H
#define COLLECTOR_VERSION_H

#define PLUMBLINE_VERSION "0.1.0"

#endif
