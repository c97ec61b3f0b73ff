/* Names of descriptors at their keeper. */
#ifndef DAEMON_FDSTORE_NAME_H
#define DAEMON_FDSTORE_NAME_H

#define FDSTORE_FD "stateproxy-fd-"         /* then its number */
#define FDSTORE_RECORD "stateproxy-record-" /* then the number of its set */

#endif
