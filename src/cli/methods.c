/* methods.c - `infoflow methods`: lists the methods and scores. */
#include "infoflow.h"
#include "options.h"

#include <stdio.h>

int cli_methods(int argc, char **argv) {
    const command_usage usage = {"methods", "", "Lists what --method (in eval: --methods) and --score can be.", "  infoflow methods"};
    const option_spec spec[] = {{0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO)
        return result;
    if (first < argc)
        return options_wrong(&usage, "'%s' is one argument too many", argv[first]);
    puts("Methods:");
    for (int i = 0; iflow_method_name((iflow_method)i); i++)
        printf("  %-12s%s%s\n", iflow_method_name((iflow_method)i), iflow_method_about((iflow_method)i),
               iflow_method_has_ratio((iflow_method)i) ? "; by --ratio" : "");
    puts("\nScores, of the method infoflow:");
    for (int i = 0; iflow_score_name((iflow_score)i); i++)
        printf("  %-12s%s\n", iflow_score_name((iflow_score)i), iflow_score_about((iflow_score)i));
    return CLI_OK;
}
