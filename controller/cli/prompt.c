#include "controller/cli/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *prompt_join(char *const *word, int n_words)
{
    size_t n = 1;
    char *text, *end;

    for (int i = 0; i < n_words; i++)
        n += strlen(word[i]) + 1;
    end = text = calloc(1, n);
    for (int i = 0; text && i < n_words; i++)
        end += sprintf(end, "%s%s", i ? " " : "", word[i]);
    return text;
}

char *prompt_read(void)
{
    size_t n = 0, room = 4096;
    char *text = malloc(room);

    while (text && n < PROMPT_MAX) {
        size_t got = fread(text + n, 1, room - n - 1, stdin);
        char *grown;

        n += got;
        if (!got)
            break;
        if (room - n > 1)
            continue;
        grown = realloc(text, room * 2);
        if (!grown)
            break;
        text = grown;
        room *= 2;
    }
    if (!text || !feof(stdin)) {
        free(text);
        return NULL;
    }
    while (n && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    return text;
}
