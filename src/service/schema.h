/* schema.h - grammars of JSON answers from JSON schemas, and what is wrong with a schema, in one line. */
#ifndef IFLOW_SERVICE_SCHEMA_H
#define IFLOW_SERVICE_SCHEMA_H

#include "infoflow.h"

#include <jansson.h>

/* The grammar, in GBNF, of the answers that a JSON schema allows: *out, free(). E_FORMAT: the text is no JSON object ("line 2, column 9:
 * ..."), E_UNSUPPORTED: no grammar is made for it ("at #/properties/age: ...", the part of it as a JSON pointer), or this build makes none;
 * E_MEMORY. */
iflow_status schema_to_grammar(const char *schema, size_t n_bytes, char **out);

/* The same of a schema that was read already, as the member of a request. */
iflow_status schema_json_to_grammar(const json_t *schema, char **out);

#endif
