/* Where prompts come from. */
#ifndef CARAVAN_CONTROLLER_CLI_PROMPT_H
#define CARAVAN_CONTROLLER_CLI_PROMPT_H

enum { PROMPT_MAX = 16 * 1024 * 1024 };

/* Both owned. The words with a space between; NULL: no memory. */
char *prompt_join(char *const *word, int n_words);
/* All of standard input, without the newlines at its end. NULL: no memory, or too much. */
char *prompt_read(void);

#endif
