/* metadata.c - a reader of one model's metadata keys. */
#include "model/metadata.h"

#include <gguf.h>

#include <math.h>
#include <stdio.h>

/* The id of "<arch>.<key>", -1 if it is not there. */
static int64_t find(const iflow_metadata *r, const char *key, char name[128]) {
    snprintf(name, 128, "%s.%s", r->arch, key);
    return gguf_find_key(r->gguf, name);
}

/* One element of a numeric value or array as a double; false when the type is no number. */
static bool number_at(enum gguf_type type, const void *data, size_t i, double *out) {
    switch (type) {
    case GGUF_TYPE_UINT8:
        *out = ((const uint8_t *)data)[i];
        return true;
    case GGUF_TYPE_INT8:
        *out = ((const int8_t *)data)[i];
        return true;
    case GGUF_TYPE_UINT16:
        *out = ((const uint16_t *)data)[i];
        return true;
    case GGUF_TYPE_INT16:
        *out = ((const int16_t *)data)[i];
        return true;
    case GGUF_TYPE_UINT32:
        *out = ((const uint32_t *)data)[i];
        return true;
    case GGUF_TYPE_INT32:
        *out = ((const int32_t *)data)[i];
        return true;
    case GGUF_TYPE_UINT64:
        *out = (double)((const uint64_t *)data)[i];
        return true;
    case GGUF_TYPE_INT64:
        *out = (double)((const int64_t *)data)[i];
        return true;
    case GGUF_TYPE_FLOAT32:
        *out = (double)((const float *)data)[i];
        return true;
    case GGUF_TYPE_FLOAT64:
        *out = ((const double *)data)[i];
        return true;
    default:
        return false;
    }
}

double iflow_metadata_number(iflow_metadata *r, const char *key, double fallback) {
    char name[128];
    const int64_t id = find(r, key, name);
    if (id < 0 || r->status) {
        return fallback;
    }
    const bool is_array = gguf_get_kv_type(r->gguf, id) == GGUF_TYPE_ARRAY;
    const enum gguf_type type = is_array ? gguf_get_arr_type(r->gguf, id) : gguf_get_kv_type(r->gguf, id);
    const bool numeric = type != GGUF_TYPE_STRING && type != GGUF_TYPE_ARRAY && type != GGUF_TYPE_BOOL;
    const size_t n = is_array ? gguf_get_arr_n(r->gguf, id) : 1;
    double value = fallback;
    if (!numeric || n == 0) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s is not a number", r->path, name);
        return fallback;
    }
    const void *data = is_array ? gguf_get_arr_data(r->gguf, id) : gguf_get_val_data(r->gguf, id);
    for (size_t i = 0; i < n; i++) {
        double x = 0;
        number_at(type, data, i, &x);
        if (i && x != value) {
            r->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: %s differs from layer to layer, which is not supported", r->path, name);
            return fallback;
        }
        value = x;
    }
    return value;
}

int iflow_metadata_count(iflow_metadata *r, const char *key, int fallback, int max) {
    const double value = iflow_metadata_number(r, key, fallback);
    if (r->status) {
        return 1;
    }
    if (value == 0 && fallback == 0) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s.%s is missing", r->path, r->arch, key);
        return 1;
    }
    if (!(value >= 1 && value <= max) || value != floor(value)) {
        r->status =
            iflow_fail(IFLOW_E_FORMAT, "%s: %s.%s is %g; a whole number from 1 to %d is expected", r->path, r->arch, key, value, max);
        return 1;
    }
    return (int)value;
}

const char *iflow_metadata_string(iflow_metadata *r, const char *key, const char *fallback) {
    char name[128];
    const int64_t id = find(r, key, name);
    if (id < 0 || r->status) {
        return fallback;
    }
    if (gguf_get_kv_type(r->gguf, id) != GGUF_TYPE_STRING) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s is not a string", r->path, name);
        return fallback;
    }
    return gguf_get_val_str(r->gguf, id);
}

bool iflow_metadata_flags(iflow_metadata *r, const char *key, bool *out, int n) {
    char name[128];
    const int64_t id = find(r, key, name);
    if (id < 0 || r->status || gguf_get_kv_type(r->gguf, id) != GGUF_TYPE_ARRAY) {
        return false;
    }
    const enum gguf_type type = gguf_get_arr_type(r->gguf, id);
    double x = 0;
    const bool numeric = type != GGUF_TYPE_STRING && type != GGUF_TYPE_ARRAY;
    if (!numeric || gguf_get_arr_n(r->gguf, id) != (size_t)n) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s is not an array of %d flags, one a layer", r->path, name, n);
        return false;
    }
    const void *data = gguf_get_arr_data(r->gguf, id);
    for (int i = 0; i < n; i++) {
        number_at(type == GGUF_TYPE_BOOL ? GGUF_TYPE_INT8 : type, data, (size_t)i, &x);
        out[i] = x != 0;
    }
    return true;
}

void iflow_metadata_refuse(iflow_metadata *r, const char *key, const char *what) {
    char name[128];
    if (!r->status && find(r, key, name) >= 0) {
        r->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: %s (%s) is not supported", r->path, what, name);
    }
}
