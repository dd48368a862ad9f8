/* json.h - JSON values that the service makes: any bytes, any number, and members whose memory may be missing. */
#ifndef IFLOW_SERVICE_JSON_H
#define IFLOW_SERVICE_JSON_H

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

/* New references; NULL: no memory. */

/* Any bytes as a JSON string: what is not UTF-8 is U+FFFD. */
json_t *json_text(const char *bytes);
/* A number, or null where it is none: json_real() gives NULL for it, and a member that is NULL is left out. */
json_t *json_finite(double value);
/* A count fits: jansson's integers have 64 bits. */
json_t *json_count(uint64_t n);

/* Sets a member, or appends an item; takes the value over. False, and nothing is set, where it is NULL or there is no memory. */
bool json_put(json_t *object, const char *key, json_t *value);
bool json_append(json_t *array, json_t *value);

#endif
