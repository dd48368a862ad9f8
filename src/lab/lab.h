/* lab.h - the laboratory's subcommands: what measures the product, and what fits it to a model. It uses all rooms, and only main.c uses it.
 */
#ifndef IFLOW_LAB_H
#define IFLOW_LAB_H

/* argv[0] is the subcommand's name. They return an exit status. */
int lab_eval(int argc, char **argv);
int lab_learn(int argc, char **argv);
int lab_calibrate(int argc, char **argv);
int lab_bench(int argc, char **argv);

#endif
