#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Returns the length of the printable UTF-8 character (RFC 3629) at S, 0 if there is none. */
static size_t printable_length(const unsigned char *s, size_t n)
{
	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || n < length)
		return 0;
	uint32_t c = s[0] & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	/* By length. A smaller code is an overlong form; 0x80 to 0x9f are the C1 controls. */
	static const uint32_t smallest[] = {0, 0, 0xa0, 0x800, 0x10000};
	bool surrogate = c >= 0xd800 && c <= 0xdfff;
	/* Line and paragraph separators and the controls of the writing direction hide text. */
	bool layout = (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
		      c == 0x200f || c == 0x061c;
	return c < smallest[length] || c > 0x10ffff || surrogate || layout ? 0 : length;
}

size_t text_escape(char *out, size_t size, const char *text, size_t length)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;
	for (size_t i = 0; i < length;) {
		const unsigned char *s = (const unsigned char *)text + i;
		if (*s >= 0x20 && *s < 0x7f && used + 1 < size) { /* the usual case */
			out[used++] = text[i++];
			continue;
		}
		size_t n = printable_length(s, length - i);
		if (used + (n ? n : 4) >= size)
			break;
		if (n) {
			memcpy(out + used, s, n);
			used += n;
			i += n;
		} else {
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = hex[*s >> 4];
			out[used++] = hex[*s & 15];
			i++;
		}
	}
	out[used] = '\0';
	return used;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The optimal string alignment distance, by dynamic programming. */
size_t text_distance(const char *a, const char *b)
{
	enum { LENGTH_MAX = 64, ROWS = 3 };
	size_t n = strlen(b), i;
	size_t rows[ROWS][LENGTH_MAX]; /* of the first I characters of A to each beginning of B */
	if (n >= LENGTH_MAX || strlen(a) >= LENGTH_MAX)
		return LENGTH_MAX;
	for (size_t j = 0; j <= n; j++)
		rows[0][j] = j;
	for (i = 1; a[i - 1]; i++) {
		size_t *row = rows[i % ROWS];
		const size_t *last = rows[(i - 1) % ROWS], *before = rows[(i + 1) % ROWS];
		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			row[j] = smaller(last[j - 1] + (a[i - 1] != b[j - 1]),
					 1 + smaller(last[j], row[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = smaller(row[j], before[j - 2] + 1);
		}
	}
	return rows[(i - 1) % ROWS][n];
}

bool text_close_stream(FILE *out, char *const *text)
{
	bool good = out && !ferror(out);
	/* If there is no memory for the last piece, fclose(3) succeeds and TEXT is NULL. */
	return out && fclose(out) == 0 && good && *text;
}
