#!/usr/bin/env python3
"""Compiles policy/seccomp.txt into the BPF filters of the sandbox, as a C header.

    compile-seccomp.py SECCOMP.TXT SYSCALLS.TXT OUTPUT.H
    compile-seccomp.py --template SECCOMP.TXT SYSCALLS.TXT OUTPUT.H
    compile-seccomp.py --check-headers CC SECCOMP.TXT SYSCALLS.TXT

The first form writes seccomp_strict_filter[]. The second writes seccomp_template_filter[] instead: the same, but the
calls of groups marked `secret` pass when arguments 4 and 5 equal a secret of 128 bits, for which the filter has blanks;
seccomp_template_secret[][4] says at which instructions to write its four words. The third compares the table of
numbers with the headers of the C compiler CC. The grammar of the policy is described at its head.

The program is a search tree over ranges of numbers: some six comparisons for a call. It keeps to the instructions
that the kernel (5.11 and later) can run ahead of time, so that calls allowed whatever their arguments skip it there.
"""
import argparse
import dataclasses
import errno
import itertools
import pathlib
import re
import subprocess
import sys

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*

LOAD, AND, JUMP, JEQ, JGE, RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
AT_NUMBER, AT_ARCH, AT_ARGS = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
KILL_PROCESS, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
FARTHEST = 255  # of a conditional jump


class PolicyError(Exception):
    """The policy or the table is wrong; the text names file line and cause."""


@dataclasses.dataclass
class Condition:
    arg: int
    mask: int
    values: list[int]


@dataclasses.dataclass
class Rule:
    conditions: list[Condition]
    result: int


@dataclasses.dataclass
class Group:
    name: str
    line: int
    reason: str = ""
    result: int | None = None  # of allow and refuse; for check what applies when no rule fits
    calls: list[str] = dataclasses.field(default_factory=list)
    checks: bool = False
    rules: list[Rule] = dataclasses.field(default_factory=list)
    secret: bool = False


def parse_syscalls(text):
    """Returns {architecture: {name: number}}."""
    tables = {arch: {} for arch in ARCHITECTURES}
    for at, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 1 + len(tables):
            raise PolicyError(f"table line {at}: want a name and {len(tables)} numbers")
        for arch, number in zip(tables, words[1:]):
            if number == "-":
                continue
            if words[0] in tables[arch] or int(number) in tables[arch].values():
                raise PolicyError(f"table line {at}: {words[0]} or its number on {arch} is there twice")
            tables[arch][words[0]] = int(number)
    return tables


def return_value(word, at):
    if word == "allow":
        return ALLOW
    number = getattr(errno, word, None)
    if not word.startswith("E") or not isinstance(number, int):
        raise PolicyError(f"line {at}: unknown error {word}")
    return ERRNO | number


class Parser:
    """Reads the policy line by line into self.groups."""

    def __init__(self, text):
        self.constants, self.used, self.groups = {}, set(), []
        for at, line in enumerate(text.splitlines(), 1):
            words = line.split("#")[0].split()
            if words:
                handler = getattr(self, "on_" + words[0], None)
                if handler is None:
                    raise PolicyError(f"line {at}: unknown word {words[0]}")
                handler(words[1:], at)
        unused = sorted(set(self.constants) - self.used)
        if unused:
            raise PolicyError(f"constants never used: {' '.join(unused)}")

    def group(self, at):
        if not self.groups:
            raise PolicyError(f"line {at}: no group has been started")
        return self.groups[-1]

    def on_const(self, words, at):
        if len(words) != 2 or words[0] in self.constants:
            raise PolicyError(f"line {at}: want a new name and a value")
        self.constants[words[0]] = self.number(words[1], at)

    def on_group(self, words, at):
        if len(words) != 1 or any(group.name == words[0] for group in self.groups):
            raise PolicyError(f"line {at}: want one new name of a group")
        self.groups.append(Group(words[0], at))

    def on_because(self, words, at):
        self.group(at).reason = f"{self.group(at).reason} {' '.join(words)}".strip()

    def on_allow(self, words, at):
        self.name_calls(words, at, ALLOW, checks=False)

    def on_refuse(self, words, at):
        if not words or words[0] == "allow":
            raise PolicyError(f"line {at}: want an error and calls")
        self.name_calls(words[1:], at, return_value(words[0], at), checks=False)

    def on_check(self, words, at):
        if len(words) != 1:
            raise PolicyError(f"line {at}: a check is about one call")
        self.name_calls(words, at, None, checks=True)

    def name_calls(self, calls, at, result, checks):
        group = self.group(at)
        if group.calls and (group.result, group.checks) != (result, checks) or checks and group.calls:
            raise PolicyError(f"line {at}: group {group.name} mixes results")
        if not calls:
            raise PolicyError(f"line {at}: names no call")
        group.result, group.checks = result, checks
        group.calls += calls

    def on_when(self, words, at):
        match = re.fullmatch(r"(.+) -> (\w+)", " ".join(words))
        if not match or not self.group(at).checks:
            raise PolicyError(f"line {at}: want conditions -> result, after check")
        conditions = [self.condition(part, at) for part in match[1].split(" and ")]
        self.group(at).rules.append(Rule(conditions, return_value(match[2], at)))

    def condition(self, text, at):
        match = re.fullmatch(r"arg([0-5])(?: & (\w+))? in (\w+(?: \w+)*)", text)
        if not match:
            raise PolicyError(f"line {at}: cannot read condition: {text}")
        mask = self.number(match[2], at) if match[2] else 0xFFFFFFFF
        values = [self.number(word, at) for word in match[3].split()]
        if len(set(values)) != len(values) or any(value & ~mask for value in values):
            raise PolicyError(f"line {at}: a value is there twice, or outside of its mask")
        return Condition(int(match[1]), mask, values)

    def on_otherwise(self, words, at):
        group = self.group(at)
        if len(words) != 1 or words[0] == "allow" or not group.rules or group.result is not None:
            raise PolicyError(f"line {at}: want one error, once, after the rules of a check")
        group.result = return_value(words[0], at)

    def on_secret(self, words, at):
        if words or not self.group(at).calls or self.group(at).result in (None, ALLOW):
            raise PolicyError(f"line {at}: secret is for groups that refuse")
        self.group(at).secret = True

    def number(self, word, at):
        self.used.add(word)
        try:
            value = self.constants[word] if word in self.constants else int(word, 0)
        except ValueError:
            raise PolicyError(f"line {at}: unknown constant {word}") from None
        if not 0 <= value <= 0xFFFFFFFF:
            raise PolicyError(f"line {at}: {word} does not fit 32 bits")
        return value


def parse_policy(text, tables):
    """Returns the groups, after checking that each call of the tables is in exactly one and each group has a reason."""
    groups = Parser(text).groups
    known = set().union(*tables.values())
    home = {}
    for group in groups:
        if len(group.reason.split()) < 3:
            raise PolicyError(f"line {group.line}: group {group.name} has no reason")
        if not group.calls or group.result is None:
            raise PolicyError(f"line {group.line}: group {group.name} decides nothing")
        for call in group.calls:
            if call not in known:
                raise PolicyError(f"line {group.line}: group {group.name}: unknown system call {call}")
            if call in home:
                raise PolicyError(f"line {group.line}: {call} is in {home[call]} and in {group.name}")
            home[call] = group.name
    if known - set(home):
        raise PolicyError(f"in no group: {' '.join(sorted(known - set(home)))}")
    return groups


class Assembler:
    """Builds a program from its end to its start, as BPF jumps forwards only. A label counts instructions from the end."""

    def __init__(self):
        self.backwards = []
        self.returns = {}  # value: label of the nearest

    def put(self, code, if_true=0, if_false=0, k=0):
        self.backwards.append((code, if_true, if_false, k))
        return len(self.backwards)

    def distance(self, label):
        return len(self.backwards) - label

    def finish(self, value):
        """A label for returning value, shared if one is near."""
        if value not in self.returns or self.distance(self.returns[value]) > FARTHEST:
            self.returns[value] = self.put(RETURN, k=value)
        return self.returns[value]

    def near(self, label):
        """The label, or one that a conditional jump can reach and that leads to the same."""
        if self.distance(label) <= FARTHEST:
            return label
        code, _, _, k = self.backwards[label - 1]
        return self.finish(k) if code == RETURN else self.put(JUMP, k=self.distance(label))

    def branch(self, code, k, if_true, if_false):
        """A conditional jump; an extra instruction for one side may put the other out of reach, hence the repetition."""
        while max(self.distance(if_true), self.distance(if_false)) > FARTHEST:
            if_true, if_false = self.near(if_true), self.near(if_false)
        return self.put(code, self.distance(if_true), self.distance(if_false), k)

    def program(self):
        return self.backwards[::-1]


def put_group(to, group):
    """Code that decides a call by its arguments, rule by rule; returns its label."""
    entry = compared = to.finish(group.result)
    loaded = None
    for rule in reversed(group.rules):
        success = to.finish(rule.result)
        for at, condition in reversed(list(enumerate(rule.conditions))):
            # A first condition that fails may go past the next rule's load if that would load the same again.
            failure = compared if at == 0 and loaded == (condition.arg, condition.mask) else entry
            for value in reversed(condition.values):
                failure = to.branch(JEQ, value, success, failure)
            test = failure
            if condition.mask != 0xFFFFFFFF:
                to.put(AND, k=condition.mask)
            success = to.put(LOAD, k=AT_ARGS + 8 * condition.arg)
        entry, compared, loaded = success, test, (condition.arg, condition.mask)
    return entry


def put_secret(to, group):
    """As put_group, for a call that passes when arguments 4 and 5 hold the secret. The blanks are None."""
    success, failure = to.finish(ALLOW), put_group(to, group) if group.checks else to.finish(group.result)
    for word in reversed(range(4)):
        to.branch(JEQ, None, success, failure)
        success = to.put(LOAD, k=AT_ARGS + 8 * 4 + 4 * word)
    return success


def best_splits(weights):
    """Returns {(first, end): start of the right half} of the search tree with the fewest comparisons in all (Knuth)."""
    count = len(weights)
    total = [0, *itertools.accumulate(weights)]
    cost, split = {}, {}
    for at in range(count):
        cost[at, at + 1], split[at, at + 1] = 0, at
    for length in range(2, count + 1):
        for first in range(count - length + 1):
            end = first + length
            low, high = split[first, end - 1], split[first + 1, end]
            middle = min(range(max(low, first + 1), min(max(high, first + 1), end - 1) + 1),
                         key=lambda at: cost[first, at] + cost[at, end])
            cost[first, end] = cost[first, middle] + cost[middle, end] + total[end] - total[first]
            split[first, end] = middle
    return split


def put_tree(to, ranges):
    """ranges: [(first number, function that puts the code and returns its label)] in order; the last has no end.

    Every number counts the same: on loading, the kernel runs the filter once for each number there is.
    """
    starts = [start for start, _ in ranges]
    split = best_splits([end - start for start, end in zip(starts, starts[1:])] + [1])

    def put(first, end):
        if end == first + 1:
            return ranges[first][1]()
        middle = split[first, end]
        high = put(middle, end)
        low = put(first, middle)
        return to.branch(JGE, starts[middle], high, low)

    return put(0, len(ranges))


def compile_filter(groups, table, audit_arch, template=False):
    """Returns the program for one architecture as [(code, jt, jf, k)]."""
    to = Assembler()
    by_number = {table[call]: group for group in groups for call in group.calls if call in table}

    def decide(group):
        """What makes ranges equal, and the putting of the code."""
        if group is None:  # also what is above the newest, x32 included
            return ERRNO | errno.ENOSYS, lambda: to.finish(ERRNO | errno.ENOSYS)
        if template and group.secret:
            return group.name, lambda: put_secret(to, group)
        if group.checks:
            return group.name, lambda: put_group(to, group)
        return group.result, lambda: to.finish(group.result)

    ranges, previous = [], None
    for number in range(max(by_number) + 2):
        key, put = decide(by_number.get(number))
        if key != previous:
            ranges.append((number, put))
        previous = key
    tree = put_tree(to, ranges)
    if to.distance(tree):
        to.put(JUMP, k=to.distance(tree))
    number = to.put(LOAD, k=AT_NUMBER)
    to.branch(JEQ, audit_arch, number, to.finish(KILL_PROCESS))
    to.put(LOAD, k=AT_ARCH)
    verify(to.program())
    return to.program()


def verify(program):
    """The kernel's own rules: forward jumps that stay inside, an end that returns."""
    if len(program) > MAX_INSTRUCTIONS or program[-1][0] != RETURN:
        raise PolicyError(f"bad program of {len(program)} instructions")
    for at, (code, if_true, if_false, k) in enumerate(program):
        farthest = {JUMP: k, JEQ: max(if_true, if_false), JGE: max(if_true, if_false)}.get(code, 0)
        if at + 1 + farthest >= len(program) + (code == RETURN):
            raise PolicyError(f"instruction {at} leaves the program")


def c_array(name, program):
    lines = [f"static const struct sock_filter {name}[] = {{"]
    lines += [f"    {{ 0x{code:02x}, {t}, {f}, 0x{k or 0:x} }}," for code, t, f, k in program]
    return lines + ["};"]


def render(groups, tables, template):
    """The header; it needs struct sock_filter from linux/filter.h and nothing else."""
    name = "template" if template else "strict"
    lines = ["/* Generated by tools/compile-seccomp.py from policy/seccomp.txt; do not edit. */", "#pragma once", "",
             "#include <linux/filter.h>", ""]
    for at, (arch, audit_arch) in enumerate(ARCHITECTURES.items()):
        program = compile_filter(groups, tables[arch], audit_arch, template)
        lines += [f"#{'elif' if at else 'if'} defined(__{arch}__)", *c_array(f"seccomp_{name}_filter", program)]
        if template:
            blanks = [at for at, instruction in enumerate(program) if instruction[3] is None]
            lines += [f"static const unsigned short seccomp_template_secret[{len(blanks) // 4}][4] = {{"]
            lines += [f"    {{ {', '.join(map(str, blanks[i:i + 4]))} }}," for i in range(0, len(blanks), 4)] + ["};"]
    return "\n".join(lines + ["#else", '#error "no system call table for this architecture"', "#endif", ""])


def check_headers(compiler, tables):
    """The calls of the compiler's headers that the table lacks or numbers differently, as texts."""
    out = subprocess.run([*compiler, "-E", "-dM", "-include", "asm/unistd.h", "-x", "c", "/dev/null"],
                         check=True, capture_output=True, text=True).stdout
    arch = next((arch for arch in ARCHITECTURES if f"#define __{arch}__ 1" in out), None)
    if arch is None:
        return [f"{' '.join(compiler)} compiles for an architecture without a table"]
    macros = dict(re.findall(r"#define (__NR\w+) (\w+)", out))
    wrong = []
    for macro, value in sorted(macros.items()):
        name = macro.removeprefix("__NR_")
        value = macros.get(value, value)
        if name in ("syscalls", "arch_specific_syscall") or not macro.startswith("__NR_") or not value.isdigit():
            continue
        if tables[arch].get(name) != int(value):
            wrong.append(f"{arch}: {name} is {value} in the headers, {tables[arch].get(name)} in the table")
    return wrong if macros else ["the headers define no system call"]


def main():
    parser = argparse.ArgumentParser(description="Compiles the system call policy into BPF.")
    parser.add_argument("--template", action="store_true", help="write the filter with blanks for a secret")
    parser.add_argument("--check-headers", metavar="CC", help="compare the table with the compiler's headers")
    parser.add_argument("policy", type=pathlib.Path)
    parser.add_argument("syscalls", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path, nargs="?")
    args = parser.parse_args()
    try:
        tables = parse_syscalls(args.syscalls.read_text())
        groups = parse_policy(args.policy.read_text(), tables)
        if args.check_headers:
            wrong = check_headers(args.check_headers.split(), tables)
            print("\n".join(wrong) or "the table names every system call of the headers")
            return bool(wrong)
        if args.output is None:
            parser.error("names no output")
        args.output.write_text(render(groups, tables, args.template))
    except PolicyError as error:
        print(f"{args.policy}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
