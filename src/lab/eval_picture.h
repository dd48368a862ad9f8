/* eval_picture.h - the context of a question, cut again from the data, with the tokens that each series recomputed. */
#ifndef IFLOW_LAB_EVAL_PICTURE_H
#define IFLOW_LAB_EVAL_PICTURE_H

#include "lab/eval_context.h"
#include "lab/eval_summary.h"

/* For the page's script, as JSON:
 *   p  the context's pieces of text, a token each, or several that make up a character; without the head
 *   c  pieces in each chunk, n: tokens in each chunk
 *   v  for each series: null (not known), or {"s": [gap, length, gap, length, ...] of the pieces recomputed, "n": tokens recomputed in each
 *      chunk}
 * *head: tokens of the head, 0 if not known yet; it is the same for all questions of a run. NULL with IFLOW_OK if the context that was
 * asked is not the one that the data make. */
iflow_status eval_picture_make(const iflow_model *model, const eval_question *question, size_t chunk_tokens, const eval_summary *summary,
                               size_t q, size_t *head, json_t **out);

#endif
