/*
 * cpg_order: a client of the system libcpg that checks what it is given.
 *
 * It joins one group, multicasts on command, and looks at every message that any member sent: content, length, order
 * for each sender, nothing missing, nothing twice. Over all of it runs one hash that depends on the order, so clients
 * on several nodes have seen the same total order exactly if their hashes are equal. Nothing in a message says what it
 * should be: length and content follow from (seed, sender's node, sender's pid, sender's own counter), which every
 * receiver computes for itself.
 *
 * Commands come in as lines, events go out as lines of JSON; times are CLOCK_MONOTONIC in nanoseconds.
 *
 *   send K        multicast K more messages          expect N   say "reached" once N messages were delivered in all
 *   report        print the counts and the hash      drain      say "drained" once all of its own are sent and back
 *   leave         leave the group                    groups     list all groups (cpg iteration)
 *   stop          forget what is still to be sent    quit       finalise and end
 *
 * Ends with 0 after quit, 1 after a fault in what was delivered, 2 on wrong use, 3 when the daemon went away.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <corosync/corotypes.h>
#include <corosync/cpg.h>

enum {
	SIZE_MAX_MIXED = 1048576,    /* 1 MiB: more than one cpg message carries, so libcpg splits it */
	SIZE_MAX_ATOMIC = 1048576 - 1024,
	PATTERN_OCTETS = 4 * 1024 * 1024,
	SENDERS_MAX = 256,
	DISPATCH_MAX = 4096,         /* deliveries before the loop looks at everything else */
	BURST_MAX = 16,              /* sends before it reads again, and octets: a program that sends more than it reads */
	BURST_OCTETS_MAX = 262144,   /* lets the daemon keep ever more for it, and is cut off in the end */
	COUNTER_OCTETS = 8,          /* messages this long or longer open with their counter */
	EXIT_FAULT = 1,
	EXIT_USAGE = 2,
	EXIT_LOST = 3,
};

struct sender {
	uint32_t node, pid;
	uint64_t next;               /* counter of the message that must come now */
	bool synced;                 /* false: take the counter of the next message that carries one */
};

struct options {
	const char *group;
	uint64_t seed;
	size_t size;                 /* 0: mixed */
	bool verify;
	unsigned connect_timeout_ms;
};

static struct options opt = { .group = "order", .seed = 1, .verify = true, .connect_timeout_ms = 20000 };
static cpg_handle_t handle;
static uint32_t own_node;
static uint8_t *pattern, *outgoing;
static struct sender senders[SENDERS_MAX];
static size_t sender_count;

static uint64_t delivered, delivered_octets, order_hash = 14695981039346656037u;
static uint64_t sent, to_send, expected = UINT64_MAX;
static uint64_t first_send_ns, first_delivery_ns, last_delivery_ns;
static uint64_t try_again, try_again_longest_ns, blocked_since_ns;
static bool running = true, draining;

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static void fault(const struct sender *from, const char *what, uint64_t have, uint64_t want)
{
	say("{\"event\":\"fault\",\"t_ns\":%" PRIu64 ",\"what\":\"%s\",\"node\":%u,\"pid\":%u,\"counter\":%" PRIu64
	    ",\"have\":%" PRIu64 ",\"want\":%" PRIu64 ",\"delivered\":%" PRIu64 "}",
	    now_ns(), what, from->node, from->pid, from->next, have, want, delivered);
	exit(EXIT_FAULT);
}

static void lost(const char *call, cs_error_t error)
{
	say("{\"event\":\"lost\",\"t_ns\":%" PRIu64 ",\"call\":\"%s\",\"error\":%d,\"delivered\":%" PRIu64 "}",
	    now_ns(), call, (int)error, delivered);
	exit(EXIT_LOST);
}

/* ---- what a message must be ------------------------------------------------------------------------------------ */

/* Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators": the finaliser of SplitMix64. */
static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t draw(uint32_t node, uint32_t pid, uint64_t counter)
{
	return mix(mix(mix(opt.seed) ^ ((uint64_t)node << 32 | pid)) ^ counter);
}

/* Sizes for which the logarithm is about evenly spread over [2^low, 2^high). */
static size_t spread(uint64_t r, unsigned low, unsigned high)
{
	unsigned exponent = low + (unsigned)(r % (high - low));
	return ((size_t)1 << exponent) + (size_t)((r >> 8) & (((uint64_t)1 << exponent) - 1));
}

/* Mostly small, some of every magnitude up to 1 MiB, and the places where an implementation splits or packs. */
static size_t mixed_size(uint64_t r)
{
	static const size_t edges[] = { 1,    8,    16,   184,  256,   1024,  1200,  1300,  1350,  1400,   1440,
		                        1472, 1500, 2048, 2800, 4096,  4200,  8192,  8900,  16384, 32768,
		                        61440, 65507, 65536, 131072 };
	static const size_t ends[] = { SIZE_MAX_ATOMIC - 1, SIZE_MAX_ATOMIC, SIZE_MAX_ATOMIC + 1, SIZE_MAX_MIXED };
	unsigned class = (unsigned)(r % 10000);
	uint64_t rest = mix(r);
	if (class < 4)
		return ends[rest % (sizeof ends / sizeof *ends)];
	if (class < 204) {
		size_t edge = edges[(rest >> 8) % (sizeof edges / sizeof *edges)] + (rest & 15);
		return edge > 8 ? edge - 8 : 1;
	}
	if (class < 210)
		return spread(rest, 17, 20);
	if (class < 300)
		return spread(rest, 14, 17);
	if (class < 1200)
		return spread(rest, 10, 14);
	return spread(rest, 0, 10);
}

static size_t size_of(uint64_t r)
{
	return opt.size ? opt.size : mixed_size(r);
}

static const uint8_t *content_of(uint64_t r)
{
	return pattern + mix(r ^ 0x636f6e74656e74u) % (PATTERN_OCTETS - SIZE_MAX_MIXED);
}

static void make_pattern(void)
{
	pattern = malloc(PATTERN_OCTETS);
	outgoing = malloc(SIZE_MAX_MIXED);
	if (!pattern || !outgoing)
		abort();
	for (size_t i = 0; i < PATTERN_OCTETS; i += 8) {
		uint64_t word = mix(opt.seed * 31 + i);
		memcpy(pattern + i, &word, 8);
	}
}

/* ---- what comes in --------------------------------------------------------------------------------------------- */

static void fold(uint64_t value)
{
	order_hash = mix(order_hash ^ value) * 0x100000001b3u;
}

static uint64_t checksum(const uint8_t *octets, size_t len)
{
	uint64_t sum = len, word;
	for (; len >= 8; octets += 8, len -= 8) {
		memcpy(&word, octets, 8);
		sum = (sum ^ word) * 0x9fb21c651e98df25u;
		sum ^= sum >> 35;
	}
	word = 0;
	memcpy(&word, octets, len);
	return mix(sum ^ word);
}

static struct sender *sender_of(uint32_t node, uint32_t pid)
{
	for (size_t i = 0; i < sender_count; i++)
		if (senders[i].node == node && senders[i].pid == pid)
			return &senders[i];
	if (sender_count == SENDERS_MAX)
		abort();
	senders[sender_count] = (struct sender){ .node = node, .pid = pid };
	return &senders[sender_count++];
}

static void verify(struct sender *from, const uint8_t *message, size_t len)
{
	uint64_t counter = from->next;
	if (len >= COUNTER_OCTETS) {
		memcpy(&counter, message, COUNTER_OCTETS);
		if (!from->synced)
			from->next = counter;
		else if (counter != from->next)
			fault(from, counter < from->next ? "message came twice or late" : "messages are missing",
			      counter, from->next);
	} else if (!from->synced) {
		return; /* joined in the middle: too short to say which one it is */
	}
	from->synced = true;

	uint64_t r = draw(from->node, from->pid, counter);
	if (len != size_of(r))
		fault(from, "wrong length", len, size_of(r));
	size_t skip = len >= COUNTER_OCTETS ? COUNTER_OCTETS : 0;
	if (memcmp(message + skip, content_of(r) + skip, len - skip) != 0)
		fault(from, "wrong content", checksum(message, len), checksum(content_of(r), len));
}

static void on_deliver(cpg_handle_t h, const struct cpg_name *group, uint32_t node, uint32_t pid, void *message,
                       size_t len)
{
	(void)h;
	(void)group;
	last_delivery_ns = now_ns();
	if (delivered == 0)
		first_delivery_ns = last_delivery_ns;
	struct sender *from = sender_of(node, pid);
	if (opt.verify) {
		verify(from, message, len);
		fold(checksum(message, len));
	}
	fold((uint64_t)node << 32 | pid);
	fold(from->next);
	fold(len);
	from->next++;
	delivered++;
	delivered_octets += len;
}

static void list_addresses(const char *name, const struct cpg_address *list, size_t count)
{
	printf(",\"%s\":[", name);
	for (size_t i = 0; i < count; i++)
		printf("%s[%u,%u,%u]", i ? "," : "", list[i].nodeid, list[i].pid, list[i].reason);
	putchar(']');
}

static void on_confchg(cpg_handle_t h, const struct cpg_name *group, const struct cpg_address *members,
                       size_t member_count, const struct cpg_address *left, size_t left_count,
                       const struct cpg_address *joined, size_t joined_count)
{
	(void)h;
	(void)group;
	/* A process of another partition went on sending without us: pick its counter up again. */
	for (size_t i = 0; i < joined_count; i++)
		sender_of(joined[i].nodeid, joined[i].pid)->synced = joined[i].reason == CPG_REASON_JOIN;
	printf("{\"event\":\"confchg\",\"t_ns\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"hash\":\"%016" PRIx64 "\"",
	       now_ns(), delivered, order_hash);
	list_addresses("members", members, member_count);
	list_addresses("left", left, left_count);
	list_addresses("joined", joined, joined_count);
	say("}");
}

static void on_ring(cpg_handle_t h, struct cpg_ring_id ring, uint32_t member_count, const uint32_t *members)
{
	(void)h;
	printf("{\"event\":\"ring\",\"t_ns\":%" PRIu64 ",\"rep\":%u,\"seq\":%" PRIu64 ",\"members\":[", now_ns(),
	       ring.nodeid, ring.seq);
	for (uint32_t i = 0; i < member_count; i++)
		printf("%s%u", i ? "," : "", members[i]);
	say("]}");
}

static void report(const char *event)
{
	say("{\"event\":\"%s\",\"t_ns\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"octets\":%" PRIu64
	    ",\"hash\":\"%016" PRIx64 "\",\"first_send_ns\":%" PRIu64 ",\"first_delivery_ns\":%" PRIu64
	    ",\"last_delivery_ns\":%" PRIu64 ",\"try_again\":%" PRIu64 ",\"try_again_longest_ns\":%" PRIu64 "}",
	    event, now_ns(), sent, delivered, delivered_octets, order_hash, first_send_ns, first_delivery_ns,
	    last_delivery_ns, try_again, try_again_longest_ns);
}

/* ---- what goes out --------------------------------------------------------------------------------------------- */

/* Sends until the burst is over or the daemon asks for patience. True: it asked. */
static bool send_burst(void)
{
	size_t octets = 0;
	for (unsigned i = 0; i < BURST_MAX && octets < BURST_OCTETS_MAX && to_send > 0; i++) {
		uint64_t r = draw(own_node, (uint32_t)getpid(), sent);
		struct iovec part = { .iov_base = outgoing, .iov_len = size_of(r) };
		memcpy(outgoing, content_of(r), part.iov_len);
		if (part.iov_len >= COUNTER_OCTETS)
			memcpy(outgoing, &sent, COUNTER_OCTETS);
		uint64_t start = now_ns();
		if (first_send_ns == 0)
			first_send_ns = start;
		cs_error_t error = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1);
		if (error == CS_ERR_TRY_AGAIN || error == CS_ERR_INTERRUPT) {
			try_again++;
			if (blocked_since_ns == 0)
				blocked_since_ns = start;
			return true;
		}
		if (error != CS_OK)
			lost("cpg_mcast_joined", error);
		if (blocked_since_ns != 0 && start - blocked_since_ns > try_again_longest_ns)
			try_again_longest_ns = start - blocked_since_ns;
		blocked_since_ns = 0;
		sent++;
		to_send--;
		octets += part.iov_len;
	}
	return false;
}

static void check_goals(void)
{
	if (delivered >= expected) {
		report("reached");
		expected = UINT64_MAX;
	}
	if (draining && to_send == 0 && sender_of(own_node, (uint32_t)getpid())->next == sent) {
		report("drained");
		draining = false;
	}
}

static void list_groups(void)
{
	cpg_iteration_handle_t iteration;
	struct cpg_iteration_description_t entry;
	cs_error_t error = cpg_iteration_initialize(handle, CPG_ITERATION_ALL, NULL, &iteration);
	if (error != CS_OK)
		lost("cpg_iteration_initialize", error);
	printf("{\"event\":\"groups\",\"t_ns\":%" PRIu64 ",\"entries\":[", now_ns());
	for (const char *comma = ""; (error = cpg_iteration_next(iteration, &entry)) == CS_OK; comma = ",")
		printf("%s[\"%.*s\",%u,%u]", comma, (int)entry.group.length, entry.group.value, entry.nodeid,
		       entry.pid);
	say("]}");
	if (error != CS_ERR_NO_SECTIONS)
		lost("cpg_iteration_next", error);
	cpg_iteration_finalize(iteration);
}

static void leave_group(void)
{
	struct cpg_name group = { .length = (uint32_t)strlen(opt.group) };
	memcpy(group.value, opt.group, group.length);
	cs_error_t error = cpg_leave(handle, &group);
	say("{\"event\":\"left\",\"t_ns\":%" PRIu64 ",\"error\":%d}", now_ns(), (int)error);
}

static void on_command(char *line)
{
	uint64_t value = 0;
	char word[16] = "";
	if (sscanf(line, "%15s %" SCNu64, word, &value) < 1)
		return;
	if (strcmp(word, "send") == 0)
		to_send += value;
	else if (strcmp(word, "stop") == 0)
		to_send = 0;
	else if (strcmp(word, "expect") == 0)
		expected = value;
	else if (strcmp(word, "drain") == 0)
		draining = true;
	else if (strcmp(word, "report") == 0)
		report("report");
	else if (strcmp(word, "groups") == 0)
		list_groups();
	else if (strcmp(word, "leave") == 0)
		leave_group();
	else if (strcmp(word, "quit") == 0)
		running = false;
	else {
		fprintf(stderr, "cpg_order: unknown command: %s\n", line);
		exit(EXIT_USAGE);
	}
}

static void read_commands(void)
{
	static char buffer[4096];
	static size_t used;
	ssize_t got = read(STDIN_FILENO, buffer + used, sizeof buffer - 1 - used);
	if (got <= 0) {
		running = false;
		return;
	}
	used += (size_t)got;
	buffer[used] = 0;
	char *start = buffer, *end;
	while ((end = strchr(start, '\n'))) {
		*end = 0;
		on_command(start);
		start = end + 1;
	}
	used -= (size_t)(start - buffer);
	memmove(buffer, start, used);
	check_goals();
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

/* Takes all events that wait, up to a limit: an endless stream of them must not keep us from everything else. */
static void dispatch_burst(void)
{
	for (unsigned i = 0; i < DISPATCH_MAX; i++) {
		cs_error_t error = cpg_dispatch(handle, CS_DISPATCH_ONE_NONBLOCKING);
		if (error == CS_ERR_TRY_AGAIN)
			return;
		if (error != CS_OK)
			lost("cpg_dispatch", error);
		check_goals(); /* after each event: a report must not include what came later */
	}
}

static void loop(void)
{
	int descriptor;
	cs_error_t error = cpg_fd_get(handle, &descriptor);
	if (error != CS_OK)
		lost("cpg_fd_get", error);
	bool asked_to_wait = false;
	while (running) {
		struct pollfd poll_for[] = { { .fd = descriptor, .events = POLLIN },
			                     { .fd = STDIN_FILENO, .events = POLLIN } };
		/* Nothing wakes a sender that was told to try again: look once a millisecond, as others do. */
		int timeout_ms = to_send == 0 ? -1 : asked_to_wait ? 1 : 0;
		if (poll(poll_for, 2, timeout_ms) < 0 && errno != EINTR)
			abort();
		if (poll_for[1].revents)
			read_commands();
		if (poll_for[0].revents)
			dispatch_burst();
		asked_to_wait = to_send > 0 && send_burst();
	}
}

static cs_error_t connect_and_join(void)
{
	static cpg_model_v1_data_t model = { .model = CPG_MODEL_V1,
		                             .cpg_deliver_fn = on_deliver,
		                             .cpg_confchg_fn = on_confchg,
		                             .cpg_totem_confchg_fn = on_ring,
		                             .flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF };
	struct cpg_name group = { .length = (uint32_t)strlen(opt.group) };
	memcpy(group.value, opt.group, group.length);
	uint64_t deadline = now_ns() + (uint64_t)opt.connect_timeout_ms * 1000000u;
	cs_error_t error;
	/* CS_ERR_LIBRARY is what libcpg makes of "nobody listens yet". */
	while ((error = cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, NULL)) != CS_OK) {
		if ((error != CS_ERR_TRY_AGAIN && error != CS_ERR_LIBRARY) || now_ns() > deadline)
			return error;
		poll(NULL, 0, 2);
	}
	while ((error = cpg_local_get(handle, &own_node)) == CS_ERR_TRY_AGAIN && now_ns() <= deadline)
		poll(NULL, 0, 2);
	if (error != CS_OK)
		return error;
	while ((error = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN && now_ns() <= deadline)
		poll(NULL, 0, 2);
	return error;
}

static void parse_options(int argc, char **argv)
{
	static const struct option names[] = { { "group", required_argument, NULL, 'g' },
		                               { "seed", required_argument, NULL, 's' },
		                               { "size", required_argument, NULL, 'n' },
		                               { "no-verify", no_argument, NULL, 'q' },
		                               { "connect-timeout-ms", required_argument, NULL, 't' },
		                               { 0 } };
	int c;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'g': opt.group = optarg; break;
		case 's': opt.seed = strtoull(optarg, NULL, 0); break;
		case 'n': opt.size = strtoull(optarg, NULL, 0); break;
		case 'q': opt.verify = false; break;
		case 't': opt.connect_timeout_ms = (unsigned)strtoul(optarg, NULL, 0); break;
		default: exit(EXIT_USAGE);
		}
	}
	if (opt.size > SIZE_MAX_MIXED || strlen(opt.group) > CPG_MAX_NAME_LENGTH) {
		fprintf(stderr, "cpg_order: size at most %d, group name at most %d octets\n", SIZE_MAX_MIXED,
		        CPG_MAX_NAME_LENGTH);
		exit(EXIT_USAGE);
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	make_pattern();
	cs_error_t error = connect_and_join();
	if (error != CS_OK)
		lost("connect", error);
	say("{\"event\":\"connected\",\"t_ns\":%" PRIu64 ",\"node\":%u,\"pid\":%u}", now_ns(), own_node,
	    (unsigned)getpid());
	loop();
	report("end");
	cpg_finalize(handle);
	return 0;
}
