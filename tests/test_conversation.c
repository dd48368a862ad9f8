/* test_conversation.c - conversations of several messages: what a request brings, where it goes, and that it is asked with. */
#include "flow/prompt.h"
#include "model/templates.h"
#include "service/conversation.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

static conversation read_json(const char *text) {
    conversation c = {0};
    json_t *messages = json_loads(text, 0, NULL);
    assert_non_null(messages);
    assert_ok(conversation_add_json(&c, messages));
    json_decref(messages);
    return c;
}

static void assert_message(const conversation *c, size_t i, const char *role, const char *content) {
    assert_true(i < c->n);
    assert_string_equal(c->message[i].role, role);
    assert_string_equal(c->message[i].content, content);
}

static void test_json(void **state) {
    (void)state;
    conversation c =
        read_json("[{\"role\": \"user\", \"content\": \"Who?\", \"name\": \"x\"}, {\"role\": \"assistant\", \"content\": null},"
                  " {\"role\": \"developer\", \"content\": \"Be brief.\"},"
                  " {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", \"text\": \"b\"}]},"
                  " {\"role\": \"system\", \"content\": \"Be right.\"}, {\"role\": \"tool\", \"content\": \"7\"}]");
    assert_int_equal(c.n, 5);
    assert_message(&c, 0, "system", "Be brief.\n\nBe right.");
    assert_message(&c, 1, "user", "Who?");
    assert_message(&c, 2, "assistant", "");
    assert_message(&c, 3, "user", "a\nb");
    assert_message(&c, 4, "tool", "7");
    conversation_free(&c);
}

static void test_bad_json(void **state) {
    (void)state;
    static const struct {
        const char *text;
        iflow_status status;
    } bad[] = {
        {"{}", IFLOW_E_FORMAT},
        {"[7]", IFLOW_E_FORMAT},
        {"[{\"content\": \"a\"}]", IFLOW_E_FORMAT},
        {"[{\"role\": \"user\", \"content\": 7}]", IFLOW_E_FORMAT},
        {"[{\"role\": \"user\", \"content\": [7]}]", IFLOW_E_FORMAT},
        {"[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]", IFLOW_E_FORMAT},
        {"[{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {}}]}]", IFLOW_E_UNSUPPORTED},
        {"[{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{}]}]", IFLOW_E_UNSUPPORTED},
        {"[{\"role\": \"king\", \"content\": \"a\"}]", IFLOW_E_ARG},
    };
    conversation c = {0};
    assert_ok(conversation_add(&c, "user", "Who?"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *messages = json_loads(bad[i].text, 0, NULL);
        assert_int_equal(conversation_add_json(&c, messages), bad[i].status);
        assert_int_equal(c.n, 1); /* nothing was added */
        json_decref(messages);
    }
    assert_int_equal(conversation_add(&c, "user", "\xff"), IFLOW_E_FORMAT);
    conversation_free(&c);
}

static void test_not_to_be_asked(void **state) {
    (void)state;
    static const char *const bad[] = {"[]", "[{\"role\": \"system\", \"content\": \"a\"}]", "[{\"role\": \"tool\", \"content\": \"a\"}]",
                                      "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        conversation c = read_json(bad[i]);
        iflow_ask_params params = iflow_ask_default_params();
        assert_int_equal(conversation_ask(&c, &params), IFLOW_E_ARG);
        conversation_free(&c);
    }
}

static char *text_of(const iflow_model *model, iflow_tokens tokens) {
    char *text = NULL;
    assert_ok(iflow_detokenize(model, tokens.token, tokens.n, &text));
    return text;
}

static iflow_prompt prompt_of(const iflow_model *model, const conversation *c) {
    iflow_ask_params params = iflow_ask_default_params();
    iflow_prompt prompt;
    assert_ok(conversation_ask(c, &params));
    assert_ok(iflow_prompt_make(model, &params, &prompt));
    return prompt;
}

/* The head is the same in every turn; earlier turns and the question are the prompt; the last of a user's scores. */
static void test_places(void **state) {
    (void)state;
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(support_tiny_model("qwen2"), NULL, &model));
    conversation c = read_json("[{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"Who?\"}]");
    iflow_prompt first = prompt_of(model, &c);
    assert_ok(conversation_add(&c, "assistant", "He."));
    assert_ok(conversation_add(&c, "user", "When?"));
    iflow_prompt later = prompt_of(model, &c);
    assert_int_equal(first.head.n, later.head.n);
    assert_memory_equal(first.head.token, later.head.token, first.head.n * sizeof *first.head.token);
    char *head = text_of(model, later.head), *prompt = text_of(model, later.prompt), *score = text_of(model, later.score);
    static const char expected[] = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n";
    assert_string_equal(head + strlen(head) - strlen(expected), expected);
    assert_string_equal(prompt,
                        "Who?<|im_end|>\n<|im_start|>assistant\nHe.<|im_end|>\n<|im_start|>user\nWhen?<|im_end|>\n<|im_start|>assistant\n");
    assert_string_equal(score, "When?");
    free(head), free(prompt), free(score);
    iflow_prompt_free(&first), iflow_prompt_free(&later);
    conversation_free(&c);
    iflow_model_free(model);
}

static iflow_answer *ask(iflow_context *ctx, const iflow_ask_params *params) {
    iflow_answer *answer = NULL;
    assert_ok(iflow_context_ask(ctx, params, &answer));
    return answer;
}

static void assert_same(iflow_answer *a, iflow_answer *b) {
    assert_int_equal(a->n_context, b->n_context);
    assert_int_equal(a->n_prompt, b->n_prompt);
    assert_int_equal(a->n_generated, b->n_generated);
    assert_memory_equal(a->token, b->token, a->n_generated * sizeof *a->token);
    assert_memory_equal(a->selected, b->selected, a->n_selected * sizeof *a->selected);
    iflow_answer_free(a);
    iflow_answer_free(b);
}

/* A question is the same as the messages that it stands for. */
static void test_asked(void **state) {
    (void)state;
    static const char *const names[] = {"qwen2", "llama-3", "gemma3-256"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        iflow_model *model = NULL;
        iflow_context *ctx = NULL;
        assert_ok(iflow_model_load(support_tiny_model(names[i]), NULL, &model));
        assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1), &ctx));
        assert_ok(iflow_context_add_text(ctx, "A mill stood by the weir. Another did not.", 42, 0));
        iflow_ask_params question = iflow_ask_default_params();
        question.question = "Who built it?";
        question.instruction = "Answer.";
        question.system = "S";
        question.max_tokens = 8;
        conversation c = {0};
        assert_ok(conversation_add(&c, "system", "S"));
        assert_ok(conversation_add(&c, "user", "Answer.\nQuestion: Who built it?\nAnswer:"));
        iflow_ask_params messages = iflow_ask_default_params();
        assert_ok(conversation_ask(&c, &messages));
        messages.max_tokens = 8;
        messages.question = question.question; /* what scores */
        assert_same(ask(ctx, &question), ask(ctx, &messages));
        /* What does not go with messages, and messages that are none. */
        iflow_answer *answer = NULL;
        messages.system = "S";
        assert_int_equal(iflow_context_ask(ctx, &messages, &answer), IFLOW_E_ARG);
        messages.system = NULL;
        messages.question = NULL;
        messages.messages = (const iflow_message[]){{"user", " \n"}};
        messages.n_messages = 1;
        assert_int_equal(iflow_context_ask(ctx, &messages, &answer), IFLOW_E_ARG);
        messages.messages = (const iflow_message[]){{"king", "Who?"}};
        assert_int_equal(iflow_context_ask(ctx, &messages, &answer), IFLOW_E_ARG);
        messages.messages = (const iflow_message[]){{"system", "Who?"}};
        assert_int_equal(iflow_context_ask(ctx, &messages, &answer), IFLOW_E_ARG);
        messages.messages = (const iflow_message[]){{"user", NULL}};
        assert_int_equal(iflow_context_ask(ctx, &messages, &answer), IFLOW_E_ARG);
        messages.messages = NULL;
        assert_int_equal(iflow_context_ask(ctx, &messages, &answer), IFLOW_E_ARG);
        conversation_free(&c);
        iflow_context_free(ctx);
        iflow_model_free(model);
    }
}

static void set_template(struct gguf_context *gguf, char *data, const void *user) {
    (void)data;
    gguf_set_val_str(gguf, "tokenizer.chat_template", user);
}

/* A template that has no place for messages of some roles, and one that wants turns to alternate. */
static void test_refused(void **state) {
    (void)state;
    if (!iflow_templates_available()) {
        skip();
    }
    static const char alternates[] =
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif "
        "%}"
        "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{{ '<|im_start|>assistant\\n' }}";
    static const char drops[] = "{% for m in messages %}{% if m.role != 'tool' %}"
                                "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}";
    iflow_model *model = support_edited_model("qwen2", set_template, alternates);
    conversation c =
        read_json("[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"assistant\", "
                  "\"content\": \"c\"}, {\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"d\"}]");
    iflow_prompt prompt = prompt_of(model, &c);
    assert_true(prompt.no_place);
    char *head = text_of(model, prompt.head), *text = text_of(model, prompt.prompt);
    static const char expected[] = "<|im_start|>user\nS\n\n";
    assert_string_equal(head + strlen(head) - strlen(expected), expected);
    assert_string_equal(text,
                        "a\n\nb<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n<|im_start|>user\nd<|im_end|>\n<|im_start|>assistant\n");
    free(head), free(text);
    iflow_prompt_free(&prompt);
    conversation_free(&c);
    iflow_model_free(model);

    model = support_edited_model("qwen2", set_template, drops);
    c = read_json("[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"tool\", \"content\": \"7\"}]");
    iflow_ask_params params = iflow_ask_default_params();
    assert_ok(conversation_ask(&c, &params));
    assert_int_equal(iflow_prompt_make(model, &params, &prompt), IFLOW_E_UNSUPPORTED);
    conversation_free(&c);
    iflow_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),   cmocka_unit_test(test_bad_json), cmocka_unit_test(test_not_to_be_asked),
        cmocka_unit_test(test_places), cmocka_unit_test(test_asked),    cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
