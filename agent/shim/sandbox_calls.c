/* The seccomp half of the sandbox: a list of what is denied, not of what is allowed. GPU drivers are closed, differ and
 * change: what they call is not known, and one that is refused a call gives up with a number (CUDA's is 304). So what
 * stands here has no place in a program that computes: looking into other processes, mounting, new namespaces, keys, the
 * kernel's own levers, and the two doors through which most kernels were opened of late (io_uring, bpf). What drivers do
 * need stays: memfd_create, mbind, sched_setaffinity, memory that is writable and executable, kcmp (Mesa), ioctl. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "agent/shim/sandbox.h"

#if defined(__x86_64__) && defined(__LP64__)
enum { OUR_ARCH = (int)AUDIT_ARCH_X86_64, X32_BIT = 0x40000000 };
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { OUR_ARCH = (int)AUDIT_ARCH_AARCH64, X32_BIT = 0 };
#else
enum { OUR_ARCH = 0, X32_BIT = 0 };
#endif

/* Newer than Debian 12's headers, and the same everywhere. */
enum { FCHMODAT2 = 452, SETXATTRAT = 463, REMOVEXATTRAT = 466, FILE_SETATTR = 469 };

static const int denied[] = {
    /* other processes */
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pidfd_getfd,
    SYS_process_madvise,
    /* its own process group: all that is in there ends with it */
    SYS_setsid,
    SYS_setpgid,
    /* mounts and roots */
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_swapon,
    SYS_swapoff,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    /* namespaces (and clone's, below) */
    SYS_unshare,
    SYS_setns,
    /* keys */
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    /* the kernel's levers */
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_reboot,
    SYS_acct,
    SYS_syslog,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_vhangup,
    SYS_lookup_dcookie,
    SYS_nfsservctl,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl /* x86 */
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
    SYS_uselib,
    SYS_sysfs,
    SYS__sysctl,
    SYS_ustat,
#endif
    /* what Landlock does not see, by path: else a child could open the agent's key to all, or empty it */
    SYS_truncate,
    SYS_fchmodat,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
    FCHMODAT2,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
#ifdef SYS_chmod /* x86 */
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
#endif
    /* the other door into everything */
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
};

static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

enum {
    N_DENIED = sizeof(denied) / sizeof(denied[0]),
    N_FAMILIES = sizeof(families) / sizeof(families[0]),
    INSTRUCTIONS_MAX = 2 * N_DENIED + N_FAMILIES + 64
};
enum {
    NEW_NAMESPACE =
        CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
};

struct program {
    struct sock_filter code[INSTRUCTIONS_MAX];
    unsigned short n;
};

static void put(struct program *p, unsigned op, uint32_t k, uint8_t yes, uint8_t no)
{
    p->code[p->n++] = (struct sock_filter){.code = (uint16_t)op, .jt = yes, .jf = no, .k = k};
}

static void load(struct program *p, size_t offset)
{
    put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void answer(struct program *p, uint32_t verdict)
{
    put(p, BPF_RET | BPF_K, verdict, 0, 0);
}

static uint32_t fails_with(int e)
{
    return SECCOMP_RET_ERRNO | ((uint32_t)e & SECCOMP_RET_DATA);
}

/* The next instruction is for call nr alone. */
static void on_call(struct program *p, int nr)
{
    put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1);
}

/* Numbers mean other calls on another architecture (a 32-bit program, x32): who comes that way is up to no good. */
static void check_architecture(struct program *p)
{
    load(p, offsetof(struct seccomp_data, arch));
    put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)OUR_ARCH, 1, 0);
    answer(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
    if (X32_BIT) {
        put(p, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)X32_BIT, 0, 1);
        answer(p, SECCOMP_RET_KILL_PROCESS);
    }
}

/* Call nr fails where its argument arg has one of these bits. Of the low half: both architectures are little-endian. */
static void deny_bits(struct program *p, int nr, unsigned arg, uint32_t bits)
{
    put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 4);
    load(p, offsetof(struct seccomp_data, args[arg]));
    put(p, BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    answer(p, fails_with(EPERM));
    answer(p, SECCOMP_RET_ALLOW);
}

/* The flags of clone3 lie in memory, where no filter sees them: as if it were not there, so that libc takes clone. */
static void check_clone(struct program *p)
{
    on_call(p, SYS_clone3);
    answer(p, fails_with(ENOSYS));
    deny_bits(p, SYS_clone, 0, NEW_NAMESPACE);
}

/* Limits are given to oneself, pid 0, alone: one of processor time would kill the agent without a signal of ours. */
static void check_limits(struct program *p)
{
    deny_bits(p, SYS_prlimit64, 0, UINT32_MAX);
}

/* Connections that are made without connect(), past Landlock. */
static void check_fast_open(struct program *p)
{
    deny_bits(p, SYS_sendto, 3, MSG_FASTOPEN);
    deny_bits(p, SYS_sendmsg, 2, MSG_FASTOPEN);
    deny_bits(p, SYS_sendmmsg, 3, MSG_FASTOPEN);
}

/* The last check: what it loads is not the number any more. Protocols: netlink's are below MAX_LINKS, and so are TCP and
 * UDP; above it is what Landlock does not take for TCP, such as MPTCP, which can speak to any TCP port. */
static void check_socket(struct program *p)
{
    put(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0);
    answer(p, SECCOMP_RET_ALLOW);
    load(p, offsetof(struct seccomp_data, args[0]));
    for (size_t i = 0; i < N_FAMILIES; i++)
        put(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)families[i], (uint8_t)(N_FAMILIES - i), 0);
    answer(p, fails_with(EAFNOSUPPORT));
    load(p, offsetof(struct seccomp_data, args[2]));
    put(p, BPF_JMP | BPF_JGE | BPF_K, MAX_LINKS, 0, 1);
    answer(p, fails_with(EPERM));
    answer(p, SECCOMP_RET_ALLOW);
}

bool sandbox_filter_calls(void)
{
    struct program p = {.n = 0};
    struct sock_fprog prog;

    if (!OUR_ARCH) {
        errno = ENOSYS;
        return false;
    }
    check_architecture(&p);
    for (size_t i = 0; i < N_DENIED; i++) {
        on_call(&p, denied[i]);
        answer(&p, fails_with(EPERM));
    }
    check_clone(&p);
    check_limits(&p);
    check_fast_open(&p);
    check_socket(&p);
    prog = (struct sock_fprog){.len = p.n, .filter = p.code};
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) { /* a kernel without it */
        errno = ENOSYS;
        return false;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0;
}
