/* schema.h - JSON schemas as grammars. Without the distribution's converter (INFOFLOW_TEMPLATES=OFF at build time) it is E_UNSUPPORTED. */
#ifndef IFLOW_MODEL_SCHEMA_H
#define IFLOW_MODEL_SCHEMA_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

/* The GBNF grammar of the JSON texts that a JSON schema allows; its root is "root". E_FORMAT: no JSON, or no schema; E_UNSUPPORTED: longer
 * than 64 KiB, or something that no grammar of bounded size is made for; E_MEMORY; E_CANCELLED. *grammar: free(). */
iflow_status iflow_schema_to_grammar(const char *schema, size_t n_bytes, char **grammar);

#ifdef __cplusplus
}
#endif

#endif
