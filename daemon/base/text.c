#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Put the UTF-8 character (RFC 3629) at S into CODE. Returns its length, 0 if it is malformed. */
static size_t decode(const unsigned char *s, size_t n, uint32_t *code)
{
	*code = s[0];
	if (s[0] < 0x80)
		return 1;
	size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || n < length)
		return 0;
	uint32_t c = s[0] & (0xffu >> (length + 1));
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	/* By length; an overlong form has a smaller code. */
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	bool surrogate = c >= 0xd800 && c <= 0xdfff;
	*code = c;
	return c < smallest[length] || c > 0x10ffff || surrogate ? 0 : length;
}

static bool is_printable(uint32_t c)
{
	/* Line and paragraph separators and the controls of the writing direction hide text. */
	bool layout = (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
		      c == 0x200f || c == 0x061c;
	return c >= 0x20 && (c < 0x7f || c > 0x9f) && !layout; /* 0x80 to 0x9f: the C1 controls */
}

enum form { IN_LINE, IN_JSON };
enum { ESCAPED_MAX = 8 };

/* Write the first of the N bytes at S, or its character, to OUT. Returns the length written, and in
 * TAKEN the bytes read. */
static size_t escape_one(enum form form, char out[static ESCAPED_MAX], const unsigned char *s,
			 size_t n, size_t *taken)
{
	static const char hex[] = "0123456789abcdef";
	uint32_t c;
	size_t length = decode(s, n, &c);
	bool printable = length && is_printable(c), quoted = false;
	*taken = length && (printable || form == IN_JSON) ? length : 1;
	if (printable) {
		quoted = form == IN_JSON && (c == '"' || c == '\\');
		out[0] = '\\';
		memcpy(out + quoted, s, length);
		return quoted + length;
	}
	if (form == IN_JSON && !length) {
		static const char replacement[] = {'\xef', '\xbf', '\xbd'}; /* U+FFFD */
		memcpy(out, replacement, sizeof(replacement));
		return sizeof(replacement);
	}
	size_t k = 0;
	out[k++] = '\\';
	out[k++] = form == IN_JSON ? 'u' : 'x';
	if (form == IN_JSON) {
		out[k++] = hex[c >> 12 & 15]; /* all that is not printable is below 0x10000 */
		out[k++] = hex[c >> 8 & 15];
	} else {
		c = *s;
	}
	out[k++] = hex[c >> 4 & 15];
	out[k++] = hex[c & 15];
	return k;
}

static size_t escape(enum form form, char *out, size_t size, const char *text, size_t length)
{
	size_t used = 0;
	for (size_t i = 0, taken; i < length; i += taken) {
		const unsigned char *s = (const unsigned char *)text + i;
		char piece[ESCAPED_MAX];
		taken = 1;
		if (*s >= 0x20 && *s < 0x7f && *s != '"' && *s != '\\' && used + 1 < size) {
			out[used++] = text[i]; /* the usual case */
			continue;
		}
		size_t n = escape_one(form, piece, s, length - i, &taken);
		if (used + n >= size)
			break;
		memcpy(out + used, piece, n);
		used += n;
	}
	out[used] = '\0';
	return used;
}

size_t text_escape(char *out, size_t size, const char *text, size_t length)
{
	return escape(IN_LINE, out, size, text, length);
}

size_t text_escape_json(char *out, size_t size, const char *text, size_t length)
{
	return escape(IN_JSON, out, size, text, length);
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
