/* json.c - JSON values that the service makes: any bytes, any number, and members whose memory may be missing. */
#include "service/json.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *bytes) {
    char *clean = iflow_utf8_replaced(bytes, strlen(bytes));
    json_t *string = clean ? json_string(clean) : NULL;
    free(clean);
    return string;
}

json_t *json_finite(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_count(uint64_t n) {
    return json_integer((json_int_t)n);
}

bool json_put(json_t *object, const char *key, json_t *value) {
    return json_object_set_new(object, key, value) == 0;
}

bool json_append(json_t *array, json_t *value) {
    return json_array_append_new(array, value) == 0;
}
