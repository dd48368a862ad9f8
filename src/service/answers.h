/* answers.h - what an answer is and what it cost, as JSON: what a command prints and a server sends. */
#ifndef IFLOW_SERVICE_ANSWERS_H
#define IFLOW_SERVICE_ANSWERS_H

#include "service/gathering.h"
#include "service/json.h"
#include "service/profile.h"
#include "service/session.h"
#include "service/settings.h"
#include "service/verification.h"

/* Tokens a second of decoding; 0 if a single token or none was generated. */
double answer_decode_rate(const iflow_answer *answer);

/* The stages of an answer, in their order. */
typedef struct answer_stage {
    const char *name;
    double ms;
} answer_stage;
enum { ANSWER_STAGES = 8, ANSWER_TTFT_STAGES = 7 }; /* those of the time to first token come first */
extern const char *const answer_stage_name[ANSWER_STAGES];
void answer_stages(const iflow_answer *answer, answer_stage stage[ANSWER_STAGES]);

/* All that is said of an answer. Of the pointers, the last three may be NULL. */
typedef struct answer_report {
    const session *session;
    const context_documents *documents;
    const char *question;
    const iflow_answer *answer;
    bool scores;    /* with the score of each position */
    bool positions; /* with the token and text of each position */
    bool in_chat;   /* with follow_up: whether it goes on after an answer before it */
    bool follow_up;
    const ask_settings *settings;
    const verdict *checked;
    const profile *profile;
} answer_report;

/* One object: *out, a new reference. E_MEMORY; else as iflow_detokenize(). */
iflow_status answer_to_json(const answer_report *what, json_t **out);

/* Parts of it: new references; NULL: no memory. */
json_t *answer_tokens_json(const iflow_answer *answer);
json_t *answer_timings_json(const iflow_answer *answer);
json_t *answer_selected_json(const iflow_answer *answer);
/* The chunks' places in the list as it was added, from 1, in reading order, without the head. */
json_t *answer_order_json(const iflow_answer *answer);

/* Members of it, added to an object: why the answer ended; how it was checked; by which profile. False: no memory. */
bool answer_put_finish(json_t *object, const iflow_answer *answer);
bool answer_put_verdict(json_t *object, const verdict *v);
bool answer_put_profile(json_t *object, const profile *p);

#endif
