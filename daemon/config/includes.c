#include "config/includes.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 8 };

/* The files that on_glob_error() reports to; glob(3) forces it to be global. */
static struct includes *globbing;

static struct file *add_file(struct includes *all, char *name, const struct file *parent)
{
	struct file *f = &all->file[all->n++];
	*f = (struct file){.name = name, .parent = parent, .depth = parent ? parent->depth + 1 : 0};
	return f;
}

/* FROM:LINE is the include statement. */
static bool read_file(struct includes *all, struct file *f, const char *from, unsigned line)
{
	int result = config_file_read(f->name, all->budget, from, line, &f->content, all->errors);
	all->budget -= f->content.length;
	if (f->content.may_be_cut)
		errors_add(all->warnings, f->name, f->content.lines,
			   "no newline at the end of the last line: the file may be truncated");
	return result == 0;
}

/* Returns a path relative to the file that includes it, or NULL if out of memory. */
static char *resolve(const char *include, const char *from)
{
	const char *slash = strrchr(from, '/');
	int length = *include == '/' || !slash ? 0 : (int)(slash + 1 - from);
	char *path = NULL;
	return asprintf(&path, "%.*s%s", length, from, include) < 0 ? NULL : path;
}

static bool includes_itself(const struct file *f)
{
	const struct file *up = f->parent;
	while (up &&
	       (up->content.device != f->content.device || up->content.inode != f->content.inode))
		up = up->parent;
	return up;
}

/* Read the file PATH, which the statement include("INCLUDE") names. Takes over PATH. Returns false
 * if there are too many files. */
static bool include_file(struct includes *all, char *path, const char *include)
{
	const char *from = all->current->name;
	unsigned line = all->line;
	if (all->n == FILES_MAX) {
		errors_add(all->errors, from, line, "include(\"%s\"): more than %d files", include,
			   FILES_MAX);
		free(path);
		return false;
	}
	struct file *f = add_file(all, path, all->current);
	if (read_file(all, f, from, line) && includes_itself(f)) {
		errors_add(all->errors, from, line, "include(\"%s\"): the file includes itself",
			   include);
		free(f->content.text);
		f->content.text = NULL;
	}
	return true;
}

/* glob(3) could not read directory PATH: files in it would be left out. A missing directory has
 * none. */
static int on_glob_error(const char *path, int error)
{
	if (error == ENOENT || error == ENOTDIR)
		return 0;
	errors_add(globbing->errors, globbing->current->name, globbing->line, "cannot read %s: %s",
		   path, strerror(error));
	globbing->errors->transient = globbing->errors->transient || errors_is_transient(error);
	return 1;
}

/* PATH is a pattern, except for its first LITERAL bytes. Returns the result of glob(3). */
static int find_files(const char *path, size_t literal, glob_t *found)
{
	char *pattern = malloc(literal + strlen(path) + 1), *out = pattern;
	if (!pattern)
		return GLOB_NOSPACE;
	for (; literal > 0; literal--) {
		if (strchr("*?[\\", *path))
			*out++ = '\\';
		*out++ = *path++;
	}
	strcpy(out, path);
	int result = glob(pattern, 0, on_glob_error, found);
	free(pattern);
	return result;
}

static void include_pattern(struct includes *all, const char *path, const char *include)
{
	glob_t found = {0};
	globbing = all;
	int result = find_files(path, strlen(path) - strlen(include), &found);
	bool good = result == 0 || result == GLOB_NOMATCH || result == GLOB_ABORTED;
	for (size_t i = 0; result == 0 && good && i < found.gl_pathc; i++) {
		char *copy = strdup(found.gl_pathv[i]);
		good = copy;
		if (copy && !include_file(all, copy, include))
			break;
	}
	if (!good)
		errors_add_no_memory(all->errors, all->current->name, all->line);
	globfree(&found);
}

/*
 * Read the included files now, because an error belongs to the line of the statement. They are
 * parsed after the current file; the order does not matter, because nothing may be set twice.
 */
void includes_add(void *context, const char *include, unsigned line)
{
	struct includes *all = context;
	const char *from = all->current->name;
	char *path = NULL;
	all->line = line;
	if (all->current->depth == DEPTH_MAX)
		errors_add(all->errors, from, line, "include(\"%s\"): nested more than %d deep",
			   include, DEPTH_MAX);
	else if (!(path = resolve(include, from)))
		errors_add_no_memory(all->errors, from, line);
	else if (!strpbrk(include, "*?["))
		include_file(all, path, include);
	else {
		include_pattern(all, path, include);
		free(path);
	}
}

void includes_begin(struct includes *all, char *name, struct errors *e, struct errors *warnings)
{
	*all = (struct includes){.budget = CONFIG_SIZE_MAX, .errors = e, .warnings = warnings};
	read_file(all, add_file(all, name, NULL), NULL, 0);
}

const struct file *includes_next(struct includes *all)
{
	while (all->n_parsed < all->n) {
		all->current = &all->file[all->n_parsed++];
		if (all->current->content.text)
			return all->current;
	}
	return NULL;
}

void includes_clear(struct includes *all)
{
	for (size_t i = 0; i < all->n; i++) {
		free(all->file[i].name);
		free(all->file[i].content.text);
	}
}
