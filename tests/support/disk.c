/* Lets the n-th write in a folder fail, kills the process before it, or copies the folder before
   each. Preloaded: LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static char folder_[PATH_MAX], copies_[PATH_MAX], calls[1 << 20];
static int at_, error_, lasts_, count, watches;
extern char **environ;

/* Watches a folder. At call `at`: error 0 kills; others are returned, with `lasts` from then on.
   copies: a folder for copies 1, 2 ... of the folder, as it was before each call. */
void disk_watch(const char *folder, int at, int error, int lasts, const char *copies) {
  snprintf(folder_, sizeof folder_, "%s", folder);
  snprintf(copies_, sizeof copies_, "%s", copies);
  at_ = at, error_ = error, lasts_ = lasts, count = 0, calls[0] = 0;
  watches = folder[0] != 0;
}

int disk_count(void) { return count; }
const char *disk_calls(void) { return calls; }

/* 0: goes on; otherwise the error number. */
static int faulty(const char *call, const char *path) {
  if (!watches || strncmp(path, folder_, strlen(folder_))) return 0;
  pthread_mutex_lock(&one);
  int number = ++count, failure = 0;
  size_t used = strlen(calls);
  snprintf(calls + used, sizeof calls - used, "%s %s\n", call, path + strlen(folder_));
  if (copies_[0]) {
    char copy[PATH_MAX + 16];
    snprintf(copy, sizeof copy, "%s/%d", copies_, number);
    char *command[] = {"cp", "-a", folder_, copy, NULL};
    pid_t child;
    if (!posix_spawnp(&child, "cp", NULL, NULL, command, environ)) waitpid(child, NULL, 0);
  }
  if (at_ && (number == at_ || (lasts_ && number > at_))) {
    if (!error_) syscall(SYS_kill, getpid(), SIGKILL);
    failure = error_;
  }
  pthread_mutex_unlock(&one);
  return failure;
}

static int faulty_at(const char *call, int folder, const char *path) {
  char whole[PATH_MAX], link[64];
  if (!watches) return 0;
  if (path[0] == '/') return faulty(call, path);
  if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
  else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
  ssize_t length = readlink(link, whole, sizeof whole - 1);
  if (length < 0) return 0;
  snprintf(whole + length, sizeof whole - length, "/%s", path);
  return faulty(call, whole);
}

static int faulty_file(const char *call, int file) {
  char link[64], whole[PATH_MAX];
  if (!watches) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, whole, sizeof whole - 1);
  if (length < 0) return 0;
  whole[length] = 0;
  return faulty(call, whole);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define FAIL(test) do { int e = (test); if (e) { errno = e; return -1; } } while (0)

ssize_t write(int file, const void *content, size_t size) {
  REAL(write); FAIL(faulty_file("write", file)); return real(file, content, size);
}
ssize_t pwrite64(int file, const void *content, size_t size, off64_t at) {
  REAL(pwrite64); FAIL(faulty_file("write", file)); return real(file, content, size, at);
}
ssize_t pwrite(int file, const void *content, size_t size, off_t at) {
  REAL(pwrite); FAIL(faulty_file("write", file)); return real(file, content, size, at);
}
struct iovec;
ssize_t writev(int file, const struct iovec *parts, int n);
ssize_t writev(int file, const struct iovec *parts, int n) {
  REAL(writev); FAIL(faulty_file("write", file)); return real(file, parts, n);
}
ssize_t pwritev(int file, const struct iovec *parts, int n, off_t at);
ssize_t pwritev(int file, const struct iovec *parts, int n, off_t at) {
  REAL(pwritev); FAIL(faulty_file("write", file)); return real(file, parts, n, at);
}
int fsync(int file) { REAL(fsync); FAIL(faulty_file("fsync", file)); return real(file); }
int fdatasync(int file) { REAL(fdatasync); FAIL(faulty_file("fsync", file)); return real(file); }
int ftruncate(int file, off_t n) { REAL(ftruncate); FAIL(faulty_file("truncate", file)); return real(file, n); }
int ftruncate64(int file, off64_t n) { REAL(ftruncate64); FAIL(faulty_file("truncate", file)); return real(file, n); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); FAIL(faulty_at("mkdir", AT_FDCWD, path)); return real(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { REAL(mkdirat); FAIL(faulty_at("mkdir", folder, path)); return real(folder, path, mode); }
int rename(const char *a, const char *b) { REAL(rename); FAIL(faulty_at("rename", AT_FDCWD, b)); return real(a, b); }
int renameat(int i, const char *a, int j, const char *b) { REAL(renameat); FAIL(faulty_at("rename", j, b)); return real(i, a, j, b); }
int renameat2(int i, const char *a, int j, const char *b, unsigned f) { REAL(renameat2); FAIL(faulty_at("exchange", j, b)); return real(i, a, j, b, f); }
int unlink(const char *path) { REAL(unlink); if (!error_) faulty_at("unlink", AT_FDCWD, path); return real(path); }
int unlinkat(int folder, const char *path, int f) { REAL(unlinkat); if (!error_) faulty_at("unlink", folder, path); return real(folder, path, f); }
int rmdir(const char *path) { REAL(rmdir); if (!error_) faulty_at("rmdir", AT_FDCWD, path); return real(path); }
int symlink(const char *a, const char *b) { REAL(symlink); FAIL(faulty_at("symlink", AT_FDCWD, b)); return real(a, b); }

#define OPEN(name, folder, path) \
  mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
  REAL(name); if (flags & (O_CREAT | O_WRONLY | O_RDWR)) FAIL(faulty_at("open", folder, path));
int open(const char *path, int flags, ...) { OPEN(open, AT_FDCWD, path) return real(path, flags, mode); }
int open64(const char *path, int flags, ...) { OPEN(open64, AT_FDCWD, path) return real(path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { OPEN(openat, folder, path) return real(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { OPEN(openat64, folder, path) return real(folder, path, flags, mode); }
FILE *fopen(const char *path, const char *how) {
  REAL(fopen); int e = strpbrk(how, "wa+") ? faulty_at("open", AT_FDCWD, path) : 0;
  if (e) { errno = e; return NULL; }
  return real(path, how);
}
FILE *fopen64(const char *path, const char *how) {
  REAL(fopen64); int e = strpbrk(how, "wa+") ? faulty_at("open", AT_FDCWD, path) : 0;
  if (e) { errno = e; return NULL; }
  return real(path, how);
}
size_t fwrite(const void *content, size_t size, size_t n, FILE *file) {
  REAL(fwrite); int e = faulty_file("write", fileno(file));
  if (e) { errno = e; return 0; }
  return real(content, size, n, file);
}
int fflush(FILE *file) {
  REAL(fflush); if (file) FAIL(faulty_file("write", fileno(file))); return real(file);
}
