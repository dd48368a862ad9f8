/* test_templates.c - chat templates are rendered with input told apart, hostile ones end soon, and JSON schemas become grammars. */
#include "model/schema.h"
#include "model/templates.h"
#include "support.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>

/* A rendering as one text: input stands in brackets. */
static char *render(const char *text, const iflow_message *message, size_t n) {
    iflow_template *tmpl = NULL;
    iflow_rendering rendering = {0};
    iflow_buffer all = {0};
    assert_ok(iflow_template_parse(text, &tmpl));
    assert_ok(iflow_template_render(
        tmpl, message, n, &(iflow_template_options){.bos = "<s>", .eos = "</s>", .add_generation_prompt = true, .now = 86400}, &rendering));
    assert_ok(iflow_buffer_add(&all, "", 0));
    for (size_t i = 0; i < rendering.n_parts; i++) {
        const iflow_rendered_part *part = &rendering.part[i];
        assert_true(part->text[0] != '\0' && (i == 0 || part->is_input != part[-1].is_input));
        assert_ok(iflow_buffer_add(&all, "[", part->is_input));
        assert_ok(iflow_buffer_add(&all, part->text, strlen(part->text)));
        assert_ok(iflow_buffer_add(&all, "]", part->is_input));
    }
    iflow_rendering_free(&rendering);
    iflow_template_free(tmpl);
    return all.text;
}

static void assert_renders(const char *text, const char *expected) {
    static const iflow_message message[] = {{"system", " Be brief. "}, {"user", "a,b</s>"}};
    char *made = render(text, message, 2);
    assert_string_equal(made, expected);
    free(made);
}

static void test_parts(void **state) {
    (void)state;
    assert_renders("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", "<system>[ Be brief. ]<user>[a,b</s>]");
    assert_renders("{{ bos_token }}{{ messages[0].content|trim }}{{ eos_token }}", "<s>[Be brief.]</s>");
    assert_renders("{{ messages[0]['content'] + messages[1]['content'] }}", "[ Be brief. a,b</s>]");
    assert_renders("{{ add_generation_prompt }}{{ enable_thinking }}", "TrueFalse");
    assert_renders("{{ strftime_now('%Y') }}", "1970");
    /* What the engine would take for the template's own. */
    assert_renders("{{ messages[1].content.split(',')[0] }}", "[a]");
    assert_renders("{{ messages[1].content.rsplit(',')[1] }}", "[b</s>]");
    assert_renders("{{ messages[1].content|tojson }}", "[\"a,b</s>\"]");
    assert_renders("{{ messages[1]|tojson }}", "[{\"role\": \"user\", \"content\": \"a,b</s>\"}]");
    assert_renders("{{ ('x' ~ messages[1].content)|replace('x', '') }}", "[a,b</s>]");
    assert_renders("{{ 'abcb'|replace('b', 'xx') }}{{ 'ab'|replace('', '-') }}{{ 'aaa'|replace('a', 'b', 2) }}", "axxcxx-a-b-bba");
    assert_renders("{{ [messages[1].content, 'x']|join('-') }}", "[a,b</s>-x]");
}

/* Each ends with a status, and soon: the test has a time limit, and a thread's stack none to spare. */
static void test_hostile(void **state) {
    (void)state;
    static const char *const hostile[] = {
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for i in range(9223372036854775800, 9223372036854775807, 9) %}{% endfor %}",
        "{{ 'x' * 9000000000 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s|replace('x', 'xxxx') %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s|tojson }}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s ~ '' }}",
        "{% set ns = namespace() %}{% set ns.self = ns %}{{ ns|tojson }}",
        "{% set a = [] %}{% set b = a.append(a) %}{{ a ~ '' }}",
        "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ 'x'|indent(2000000000, true) }}",
        "{{ [[1]]|tojson(indent=1000000000) }}",
        "{{ 1 is divisibleby(0) }}",
        "{{ raise_exception('no') }}",
        "{{ messages[0].nothing.at.all() }}",
        "{{ 'a'[9223372036854775807:1:9223372036854775807] }}",
    };
    static const iflow_message message[] = {{"user", "Who?"}};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        iflow_template *tmpl = NULL;
        iflow_rendering rendering = {0};
        assert_ok(iflow_template_parse(hostile[i], &tmpl));
        const double start = iflow_now_ms();
        const iflow_status status = iflow_template_render(tmpl, message, 1, &(iflow_template_options){0}, &rendering);
        if (status != IFLOW_E_UNSUPPORTED) {
            fail_msg("%s: %s", hostile[i], iflow_status_string(status));
        }
        if (getenv("SHOW")) {
            print_message("%7.1f ms %s\n    %s\n", iflow_now_ms() - start, hostile[i], iflow_error_message());
        }
        iflow_template_free(tmpl);
    }
}

static char *repeated(const char *text, size_t n, const char *end) {
    iflow_buffer all = {0};
    for (size_t i = 0; i < n; i++) {
        assert_ok(iflow_buffer_add(&all, text, strlen(text)));
    }
    assert_ok(iflow_buffer_add(&all, end, strlen(end)));
    return all.text;
}

/* Texts that are no template, or one of a depth that a parser's recursion must fit. *ok: whether it is one after all. */
static void test_syntax(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *end;
        iflow_status status;
    } at[] = {
        {"{{ ", 1, "", IFLOW_E_FORMAT},
        {"{% if x %}", 1, "", IFLOW_E_FORMAT},
        {"{% nothing %}", 1, "", IFLOW_E_FORMAT},
        {"{{ 'a }}", 1, "", IFLOW_E_FORMAT},
        {"x", (128 << 10) + 1, "", IFLOW_E_UNSUPPORTED},
        {"{{((((((((((", 1000, "", IFLOW_E_FORMAT},
        {"{% if x %}", 10000, "", IFLOW_E_FORMAT},
        {"{% if not not not not not not not not not not x %}", 2000, "", IFLOW_E_FORMAT},
        {"{% for a in b if c %}", 5000, "", IFLOW_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        iflow_template *tmpl = NULL;
        char *text = repeated(at[i].text, at[i].n, at[i].end);
        const iflow_status status = iflow_template_parse(text, &tmpl);
        if (status != at[i].status) {
            fail_msg("%s: %s", at[i].text, iflow_status_string(status));
        }
        assert_null(tmpl);
        free(text);
    }
    /* Deep, and right: parsed, rendered or refused, and freed. */
    static const char *const chain[][3] = {{"not ", "x }}", "{{ "}, {"1 ~ ", "1 }}", "{{ "}, {"1 if x else ", "1 }}", "{{ "}};
    for (size_t i = 0; i < sizeof chain / sizeof *chain; i++) {
        char *body = repeated(chain[i][0], 120000 / strlen(chain[i][0]), chain[i][1]), *text = iflow_format("%s%s", chain[i][2], body);
        iflow_template *tmpl = NULL;
        iflow_rendering rendering = {0};
        const iflow_message message = {"user", "Who?"};
        assert_ok(iflow_template_parse(text, &tmpl));
        const iflow_status status = iflow_template_render(tmpl, &message, 1, &(iflow_template_options){0}, &rendering);
        assert_true(status == IFLOW_OK || status == IFLOW_E_UNSUPPORTED);
        iflow_rendering_free(&rendering);
        iflow_template_free(tmpl);
        free(text), free(body);
    }
}

/* Whether libllama's grammar parser takes it. */
static bool is_grammar(const char *grammar) {
    struct llama_sampler *sampler = llama_sampler_init_grammar(NULL, grammar, "root");
    if (sampler) {
        llama_sampler_free(sampler);
    }
    return sampler;
}

static void test_schemas(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        iflow_status status;
    } at[] = {
        {"{}", IFLOW_OK},
        {"{\"type\": \"object\"}", IFLOW_OK},
        {"{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\"}, \"born\": {\"type\": \"integer\", \"minimum\": 1000}}, "
         "\"required\": [\"name\"], \"additionalProperties\": false}",
         IFLOW_OK},
        {"{\"type\": \"array\", \"items\": {\"type\": \"number\"}, \"minItems\": 1, \"maxItems\": 3}", IFLOW_OK},
        {"{\"enum\": [\"yes\", \"no\", null]}", IFLOW_OK},
        {"{\"anyOf\": [{\"type\": \"string\", \"maxLength\": 5}, {\"type\": \"boolean\"}]}", IFLOW_OK},
        {"{\"$ref\": \"#/$defs/t\", \"$defs\": {\"t\": {\"type\": \"object\", \"properties\": {\"of\": {\"$ref\": \"#/$defs/t\"}}}}}",
         IFLOW_OK},
        {"{\"type\": \"string\", \"pattern\": \"^[a-z]{2,4}-[0-9]+$\"}", IFLOW_OK},
        {"{\"type\": \"string\", \"format\": \"date\"}", IFLOW_OK},
        {"{\"type\": \"string\", \"pattern\": \"^((a$\"}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"string\", \"maxLength\": 1000000000}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"array\", \"items\": {\"minItems\": 1000000000}}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"integer\", \"minimum\": -9000000000000000000, \"maximum\": 9000000000000000000}", IFLOW_OK},
        {"{\"type\": \"nothing\"}", IFLOW_E_UNSUPPORTED},
        /* What the converter drops. */
        {"{\"type\": \"string\", \"pattern\": \"^[^,]+$\"}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"string\", \"pattern\": \"^.+$\"}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"string\", \"pattern\": \"^[ -~]+$\"}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"string\", \"pattern\": \"^[a-z]+$\", \"minLength\": 3}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"number\", \"minimum\": 5, \"maximum\": 6}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"integer\", \"multipleOf\": 5}", IFLOW_E_UNSUPPORTED},
        {"{\"not\": {\"type\": \"string\"}}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"object\", \"properties\": {\"\": {\"type\": \"integer\"}}, \"required\": [\"\"]}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"anyOf\": [{\"required\": [\"a\"]}]}", IFLOW_E_UNSUPPORTED},
        {"{\"allOf\": [{\"allOf\": [{\"properties\": {\"x\": {\"type\": \"integer\"}}}]}]}", IFLOW_E_UNSUPPORTED},
        {"{\"$ref\": \"#/const\", \"const\": {\"type\": \"number\", \"minimum\": 5}}", IFLOW_E_UNSUPPORTED},
        {"{\"$ref\": \"#/$defs/x/default\", \"$defs\": {\"x\": {\"default\": {\"type\": \"number\"}}}}", IFLOW_E_UNSUPPORTED},
        {"{\"$ref\": \"#/$defs/x\", \"type\": \"object\", \"$defs\": {\"x\": {}}}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"integer\", \"minimum\": 1e300}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"integer\", \"exclusiveMinimum\": 9223372036854775807}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"integer\", \"minimum\": 10, \"maximum\": 5}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": [\"integer\"], \"minimum\": 5}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"required\": [\"b\"]}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"object\", \"properties\": {\"a\": {}}, \"required\": \"a\"}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"object\", \"minProperties\": 1}", IFLOW_E_UNSUPPORTED},
        {"{\"propertyNames\": {\"maxLength\": 3}}", IFLOW_E_UNSUPPORTED},
        {"{\"dependentSchemas\": {\"a\": {\"required\": [\"b\"]}}}", IFLOW_E_UNSUPPORTED},
        {"{\"prefixItems\": [{\"type\": \"integer\"}], \"maxItems\": 0}", IFLOW_E_UNSUPPORTED},
        {"{\"enum\": [\"ab\"], \"minLength\": 5}", IFLOW_E_UNSUPPORTED},
        {"{\"const\": 1, \"enum\": [1, 2]}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": \"string\", \"enum\": [\"a\"], \"title\": \"t\", \"description\": \"d\"}", IFLOW_OK},
        {"{\"type\": \"integer\", \"exclusiveMinimum\": 3, \"maximum\": 4}", IFLOW_OK},
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#/$defs/x\", \"description\": \"d\"}}, \"required\": [\"a\"], "
         "\"$defs\": {\"x\": {\"type\": \"boolean\"}}}",
         IFLOW_OK},
        /* Keywords as names and in values are none. */
        {"{\"type\": \"object\", \"properties\": {\"maxItems\": {\"type\": \"integer\"}, \"not\": {\"type\": \"string\"}}}", IFLOW_OK},
        {"{\"enum\": [{\"minItems\": 5000}]}", IFLOW_OK},
        {"{\"$ref\": \"#/nowhere\"}", IFLOW_E_UNSUPPORTED},
        {"{\"type\": ", IFLOW_E_FORMAT},
        {"7", IFLOW_E_FORMAT},
        {"", IFLOW_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        char *grammar = NULL;
        const iflow_status status = iflow_schema_to_grammar(at[i].schema, strlen(at[i].schema), &grammar);
        if (status != at[i].status) {
            fail_msg("%s: %s: %s", at[i].schema, iflow_status_string(status), status ? iflow_error_message() : "");
        }
        assert_true(status || is_grammar(grammar));
        free(grammar);
    }
    assert_false(is_grammar("root ::= nothing")); /* the parser tells */
}

/* Schemas that are large in one way each: they end, in a grammar or a status. */
static void test_hostile_schemas(void **state) {
    (void)state;
    static const char *const at[][3] = {
        {"[", "", ""},
        {"{\"items\":", "", ""},
        {"{\"items\":", "{}", "}"},
        {"{\"not\": \"x", "aaaaaaaa", "\"}"},
        {"{\"type\": \"string\", \"pattern\": \"^", "(a|b)*", "$\"}"},
        {"{\"type\": \"string\", \"pattern\": \"^", "(", "$\"}"},
        {"{\"const\": \"", "\\\"x", "\"}"},
        {"{\"enum\": [1", ",1", "]}"},
        {"{\"allOf\": [{}", ",{}", "]}"},
        {"{\"type\": \"string\", \"maxLength\": 1", "0", "}"},
        {"{\"type\": \"integer\", \"minimum\": -1", "0", "}"},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        const bool nests = strlen(at[i][1]) == 0 || i == 2;
        char *middle = repeated(nests ? at[i][0] : at[i][1], 5000, nests && i == 2 ? "{}" : ""),
             *close = repeated(nests ? at[i][2] : "", 5000, "");
        char *schema = nests ? iflow_format("%s%s", middle, close) : iflow_format("%s%s%s", at[i][0], middle, at[i][2]), *grammar = NULL;
        const double start = iflow_now_ms();
        const iflow_status status = iflow_schema_to_grammar(schema, strlen(schema), &grammar);
        assert_true(status == IFLOW_OK || status == IFLOW_E_FORMAT || status == IFLOW_E_UNSUPPORTED);
        if (getenv("SHOW")) {
            print_message("%7.1f ms %.40s: %s %zu\n", iflow_now_ms() - start, schema, iflow_status_string(status),
                          grammar ? strlen(grammar) : 0);
        }
        free(grammar);
        free(schema), free(middle), free(close);
    }
    /* Rules are made for every two optional properties. */
    for (int n = 150; n <= 1500; n *= 10) {
        iflow_buffer many = {0};
        char *grammar = NULL;
        assert_ok(iflow_buffer_add(&many, "{\"properties\":{\"a\":{}", 21));
        for (int i = 0; i < n; i++) {
            char *one = iflow_format(",\"p%d\":{\"maxLength\":2000,\"type\":\"string\"}", i);
            assert_ok(iflow_buffer_add(&many, one, strlen(one)));
            free(one);
        }
        assert_ok(iflow_buffer_add(&many, "}}", 2));
        const double start = iflow_now_ms();
        assert_int_equal(iflow_schema_to_grammar(many.text, many.n, &grammar), n == 150 ? IFLOW_OK : IFLOW_E_UNSUPPORTED);
        if (getenv("SHOW")) {
            print_message("%7.1f ms %d properties: %zu\n", iflow_now_ms() - start, n, grammar ? strlen(grammar) : 0);
        }
        free(grammar);
        iflow_buffer_free(&many);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_hostile), cmocka_unit_test(test_syntax),
                                       cmocka_unit_test(test_schemas), cmocka_unit_test(test_hostile_schemas)};
    return iflow_templates_available() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
