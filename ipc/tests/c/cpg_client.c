/*
 * A program like any other that is linked against corosync's libcpg.
 *
 *   cpg_client check   goes through the whole interface; exit 0 and "ok" if all is as documented
 *   cpg_client bench   prints round trips and throughput
 *   cpg_client wait    joins, prints "ready" and waits until the daemon is gone
 *
 * The service has to be a node that is alone.
 */
#include <corosync/cpg.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ATOMIC_MAX 1047552

#define CHECK(condition)                                                                   \
	do {                                                                               \
		if (!(condition)) {                                                        \
			fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);    \
			exit(1);                                                           \
		}                                                                          \
	} while (0)

#define CHECK_OK(call)                                                                     \
	do {                                                                               \
		cs_error_t error_ = (call);                                                \
		if (error_ != CS_OK) {                                                     \
			fprintf(stderr, "line %d: %s = %d\n", __LINE__, #call, error_);    \
			exit(1);                                                           \
		}                                                                          \
	} while (0)

static unsigned long delivered, changes, totem_changes;
static size_t last_length;
static unsigned char *last_message;
static uint32_t last_pid;
static size_t members, joined, left;
static struct cpg_address last_left, last_joined;
static uint64_t totem_seq;

static void on_deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid, uint32_t pid,
		       void *message, size_t length)
{
	(void)handle;
	(void)group;
	CHECK(nodeid == 1);
	delivered++;
	last_pid = pid;
	last_length = length;
	last_message = realloc(last_message, length + 1);
	memcpy(last_message, message, length);
}

static void on_change(cpg_handle_t handle, const struct cpg_name *group, const struct cpg_address *member_list,
		      size_t member_count, const struct cpg_address *left_list, size_t left_count,
		      const struct cpg_address *joined_list, size_t joined_count)
{
	(void)handle;
	(void)group;
	(void)member_list;
	changes++;
	members = member_count;
	left = left_count;
	joined = joined_count;
	if (left_count)
		last_left = left_list[0];
	if (joined_count)
		last_joined = joined_list[0];
}

static void on_totem(cpg_handle_t handle, struct cpg_ring_id ring, uint32_t count, const uint32_t *list)
{
	(void)handle;
	CHECK(count == 1 && list[0] == 1);
	totem_changes++;
	totem_seq = ring.seq;
}

static cpg_handle_t connect_to_cpg(void)
{
	cpg_handle_t handle;
	cpg_model_v1_data_t model = {
		.cpg_deliver_fn = on_deliver,
		.cpg_confchg_fn = on_change,
		.cpg_totem_confchg_fn = on_totem,
		.flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
	};
	CHECK_OK(cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, NULL));
	return handle;
}

/* The name's NUL counts, as in pacemaker. */
static const struct cpg_name group = { .length = 6, .value = "group" };

static void wait_for(cpg_handle_t handle, unsigned long *counter, unsigned long value)
{
	int fd;
	CHECK_OK(cpg_fd_get(handle, &fd));
	while (*counter < value) {
		struct pollfd polled = { .fd = fd, .events = POLLIN };
		CHECK(poll(&polled, 1, 10000) == 1);
		CHECK_OK(cpg_dispatch(handle, CS_DISPATCH_ALL));
	}
}

static void fill(unsigned char *message, size_t length, unsigned salt)
{
	for (size_t i = 0; i < length; i++)
		message[i] = (unsigned char)(i * 31 + i / 251 + salt);
}

static void send_and_compare(cpg_handle_t handle, size_t length, int pieces)
{
	unsigned char *message = malloc(length + 1);
	struct iovec iov[2];
	cs_error_t error;
	fill(message, length, (unsigned)length);
	iov[0].iov_base = message;
	iov[0].iov_len = pieces == 1 ? length : length / 3;
	iov[1].iov_base = message + iov[0].iov_len;
	iov[1].iov_len = length - iov[0].iov_len;
	unsigned long before = delivered;
	while ((error = cpg_mcast_joined(handle, CPG_TYPE_AGREED, iov, pieces)) == CS_ERR_TRY_AGAIN)
		CHECK_OK(cpg_dispatch(handle, CS_DISPATCH_ALL));
	CHECK(error == CS_OK);
	wait_for(handle, &delivered, before + 1);
	CHECK(delivered == before + 1);
	CHECK(last_length == length && last_pid == (uint32_t)getpid());
	CHECK(memcmp(last_message, message, length) == 0);
	free(message);
}

static void send_number(cpg_handle_t handle, uint32_t number, size_t length)
{
	unsigned char *message = calloc(1, length);
	struct iovec iov = { .iov_base = message, .iov_len = length };
	cs_error_t error;
	memcpy(message, &number, sizeof(number));
	while ((error = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &iov, 1)) == CS_ERR_TRY_AGAIN)
		usleep(100);
	CHECK(error == CS_OK);
	free(message);
}

/* Behind many multicasts a request finds the channel full. Once it is answered, they are all read. */
static void ask_behind_multicasts(cpg_handle_t handle)
{
	unsigned nodeid;
	cs_error_t error;
	while ((error = cpg_local_get(handle, &nodeid)) == CS_ERR_TRY_AGAIN)
		usleep(100);
	CHECK(error == CS_OK);
}

static void read_numbers(cpg_handle_t handle, uint32_t count, size_t length)
{
	for (uint32_t number = 0; number < count; number++) {
		uint32_t found;
		/* One by one: an octet too many on the socket would block for ever. */
		CHECK_OK(cpg_dispatch(handle, CS_DISPATCH_ONE));
		memcpy(&found, last_message, sizeof(found));
		CHECK(found == number && last_length == length);
	}
	CHECK(cpg_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING) == CS_ERR_TRY_AGAIN);
}

static void check_zero_copy(cpg_handle_t handle)
{
	void *buffer;
	unsigned long before = delivered;
	CHECK_OK(cpg_zcb_alloc(handle, 5000, &buffer));
	for (unsigned round = 0; round < 3; round++) {
		fill(buffer, 5000, round);
		CHECK_OK(cpg_zcb_mcast_joined(handle, CPG_TYPE_AGREED, buffer, 5000));
		wait_for(handle, &delivered, ++before);
		CHECK(last_length == 5000 && memcmp(last_message, buffer, 5000) == 0);
	}
	CHECK_OK(cpg_zcb_free(handle, buffer));
}

static unsigned count_entries(cpg_handle_t handle, cpg_iteration_type_t type, const struct cpg_name *name)
{
	cpg_iteration_handle_t iteration;
	struct cpg_iteration_description_t entry;
	unsigned count = 0;
	cs_error_t error;
	CHECK_OK(cpg_iteration_initialize(handle, type, name, &iteration));
	while ((error = cpg_iteration_next(iteration, &entry)) == CS_OK) {
		CHECK(entry.group.length == group.length);
		CHECK(memcmp(entry.group.value, group.value, group.length) == 0);
		if (type != CPG_ITERATION_NAME_ONLY)
			CHECK(entry.nodeid == 1 && entry.pid != 0);
		count++;
	}
	CHECK(error == CS_ERR_NO_SECTIONS);
	CHECK_OK(cpg_iteration_finalize(iteration));
	return count;
}

static void check_second_process(cpg_handle_t handle)
{
	unsigned long before = changes;
	int release[2];
	CHECK(pipe(release) == 0);
	pid_t child = fork();
	if (child == 0) {
		char octet;
		close(release[1]);
		cpg_handle_t own = connect_to_cpg();
		CHECK_OK(cpg_join(own, &group));
		/* Ends without a word once the parent has seen it. */
		_exit(read(release[0], &octet, 1) == 1 ? 0 : 1);
	}
	wait_for(handle, &changes, before + 1);
	CHECK(members == 2 && joined == 1 && left == 0);
	CHECK(last_joined.pid == (uint32_t)child && last_joined.reason == CPG_REASON_JOIN);
	CHECK(count_entries(handle, CPG_ITERATION_ALL, NULL) == 2);
	CHECK(count_entries(handle, CPG_ITERATION_ONE_GROUP, &group) == 2);
	CHECK(count_entries(handle, CPG_ITERATION_NAME_ONLY, NULL) == 1);
	struct cpg_address list[CPG_MEMBERS_MAX];
	int entries = 0;
	CHECK_OK(cpg_membership_get(handle, (struct cpg_name *)&group, list, &entries));
	CHECK(entries == 2);
	CHECK(write(release[1], "x", 1) == 1);
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	wait_for(handle, &changes, before + 2);
	CHECK(members == 1 && joined == 0 && left == 1);
	CHECK(last_left.pid == (uint32_t)child && last_left.reason == CPG_REASON_PROCDOWN);
	close(release[0]);
	close(release[1]);
}

static int check(void)
{
	static const size_t sizes[] = { 0,    1,     2,      3,      4,      5,	    100,	  1000,
					4096, 65535, 100000, 500000, 524288, 1000000, ATOMIC_MAX - 1, ATOMIC_MAX };
	/* Over sockets without privileges the largest message is smaller. */
	const char *limit = getenv("CPG_CLIENT_SIZE_MAX");
	size_t size_max = limit ? strtoul(limit, NULL, 10) : 3000000;
	cpg_handle_t handle = connect_to_cpg();
	unsigned nodeid = 0;
	uint32_t atomic_max = 0;
	cpg_flow_control_state_t flow;

	CHECK_OK(cpg_local_get(handle, &nodeid));
	CHECK(nodeid == 1);
	CHECK_OK(cpg_max_atomic_msgsize_get(handle, &atomic_max));
	CHECK(atomic_max == ATOMIC_MAX);
	CHECK_OK(cpg_flow_control_state_get(handle, &flow));
	CHECK(flow == CPG_FLOW_CONTROL_DISABLED);
	CHECK(cpg_leave(handle, &group) == CS_ERR_NOT_EXIST);

	CHECK_OK(cpg_join(handle, &group));
	wait_for(handle, &changes, 1);
	CHECK(members == 1 && joined == 1 && left == 0);
	CHECK(last_joined.nodeid == 1 && last_joined.pid == (uint32_t)getpid());
	CHECK(last_joined.reason == CPG_REASON_JOIN);
	wait_for(handle, &totem_changes, 1);
	CHECK(totem_seq == 4);
	CHECK(cpg_join(handle, &group) == CS_ERR_EXIST);

	for (int round = 0; round < 3; round++)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			if (sizes[i] <= size_max)
				send_and_compare(handle, sizes[i], 1 + round % 2);
	if (size_max >= 3000000) {
		send_and_compare(handle, 3000000, 1);
		send_and_compare(handle, 3000000, 2);
	}

	for (uint32_t number = 0; number < 1500; number++)
		send_number(handle, number, 64);
	ask_behind_multicasts(handle);
	read_numbers(handle, 1500, 64);
	for (uint32_t number = 0; number < 30; number++)
		send_number(handle, number, 100000);
	ask_behind_multicasts(handle);
	read_numbers(handle, 30, 100000);

	check_zero_copy(handle);
	check_second_process(handle);

	unsigned long before = changes;
	CHECK_OK(cpg_leave(handle, &group));
	wait_for(handle, &changes, before + 1);
	CHECK(members == 0 && left == 1 && last_left.reason == CPG_REASON_LEAVE);
	CHECK_OK(cpg_finalize(handle));
	CHECK(cpg_local_get(handle, &nodeid) == CS_ERR_BAD_HANDLE);
	puts("ok");
	return 0;
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Sends and receives its own messages, with at most `window` octets under way. */
static void bench_messages(cpg_handle_t handle, size_t length, unsigned long count, size_t window)
{
	unsigned char *message = calloc(1, length);
	struct iovec iov = { .iov_base = message, .iov_len = length };
	unsigned long target = delivered + count, sent = delivered, ahead = window / length + 1;
	double start = now();
	while (delivered < target) {
		while (sent < target && sent - delivered < ahead) {
			cs_error_t error = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &iov, 1);
			if (error == CS_ERR_TRY_AGAIN)
				break;
			CHECK(error == CS_OK);
			sent++;
		}
		CHECK_OK(cpg_dispatch(handle, CS_DISPATCH_ALL));
	}
	double seconds = now() - start;
	printf("%8zu B  %10.0f messages/s  %8.1f MB/s\n", length, (double)count / seconds,
	       (double)count * (double)length / seconds / 1e6);
	free(message);
}

static int bench(void)
{
	cpg_handle_t handle = connect_to_cpg();
	unsigned nodeid;
	CHECK_OK(cpg_join(handle, &group));
	wait_for(handle, &changes, 1);
	for (int i = 0; i < 1000; i++)
		CHECK_OK(cpg_local_get(handle, &nodeid));
	const int rounds = 100000;
	double start = now();
	for (int i = 0; i < rounds; i++)
		CHECK_OK(cpg_local_get(handle, &nodeid));
	printf("local_get  %.2f us\n", (now() - start) / rounds * 1e6);
	bench_messages(handle, 64, 500000, 128 * 1024);
	bench_messages(handle, 1000, 300000, 512 * 1024);
	bench_messages(handle, 8000, 100000, 512 * 1024);
	bench_messages(handle, 100000, 20000, 512 * 1024);
	bench_messages(handle, 1000000, 2000, 512 * 1024);
	CHECK_OK(cpg_finalize(handle));
	return 0;
}

/* What a client sees of a daemon that goes away. */
static int wait_for_end(void)
{
	cpg_handle_t handle = connect_to_cpg();
	unsigned nodeid;
	int fd;
	CHECK_OK(cpg_join(handle, &group));
	wait_for(handle, &changes, 1);
	CHECK_OK(cpg_fd_get(handle, &fd));
	puts("ready");
	fflush(stdout);
	struct pollfd polled = { .fd = fd, .events = 0 };
	CHECK(poll(&polled, 1, 10000) == 1);
	CHECK(polled.revents & POLLHUP);
	CHECK(cpg_local_get(handle, &nodeid) == CS_ERR_LIBRARY);
	CHECK(cpg_finalize(handle) == CS_ERR_LIBRARY);
	puts("ok");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "check") == 0)
		return check();
	if (argc == 2 && strcmp(argv[1], "bench") == 0)
		return bench();
	if (argc == 2 && strcmp(argv[1], "wait") == 0)
		return wait_for_end();
	fprintf(stderr, "usage: %s check|bench|wait\n", argv[0]);
	return 2;
}
