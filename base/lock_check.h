/* Annotations for clang's -Wthread-safety (tools/test.sh threads): it reports a lock that is still
 * held on some way out of a function, is taken twice, or is not held where it must be. Other
 * compilers ignore them.
 *
 *     struct lock_kind x { ... };                the lock
 *     void take(struct x *x) lock_takes(*x);     on a prototype, or on the definition of a static
 *     void set(struct x *x) lock_needs(*x);
 */
#ifndef BASE_LOCK_CHECK_H
#define BASE_LOCK_CHECK_H

#ifdef __clang__
#define lock_attribute(x) __attribute__((x))
#else
#define lock_attribute(x)
#endif

#define lock_kind lock_attribute(capability("mutex"))
#define lock_takes(m) lock_attribute(acquire_capability(m))
#define lock_gives(m) lock_attribute(release_capability(m))
#define lock_needs(m) lock_attribute(requires_capability(m))
/* Not analysed: for the functions that implement the lock. */
#define lock_itself lock_attribute(no_thread_safety_analysis)

#endif
