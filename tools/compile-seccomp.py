#!/usr/bin/env python3
"""Compiles policy/seccomp.txt into the BPF filters of the sandbox, as a C header.

    compile-seccomp.py SECCOMP.TXT SYSCALLS.TXT OUTPUT.H
    compile-seccomp.py --template SECCOMP.TXT SYSCALLS.TXT OUTPUT.H
    compile-seccomp.py --check-headers CC SECCOMP.TXT SYSCALLS.TXT

The first form writes seccomp_strict_filter[]. The second writes seccomp_template_filter[] instead: the same, but the
calls of groups marked `secret` pass when arguments 4 and 5 equal a secret of 128 bits, for which the filter has blanks;
seccomp_template_secret[][4] says at which instructions to write its four words. The third compares the table of
numbers with the headers of the C compiler CC. The grammar of the policy is described at its head.

The program is a search tree over ranges of numbers: about eight comparisons for any call. It keeps to the instructions
that the kernel (5.11 and later) can run ahead of time, so that calls allowed whatever their arguments skip it there.
"""
import argparse
import dataclasses
import errno
import pathlib
import re
import subprocess
import sys

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*

LOAD, AND, JUMP, JEQ, JGE, RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06
AT_NUMBER, AT_ARCH, AT_ARGS = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
KILL_PROCESS, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS


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
        if words or not self.group(at).calls or self.group(at).checks or self.group(at).result == ALLOW:
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


def near(distance):
    if distance > 255:
        raise PolicyError("a rule is too long for a jump of BPF; split it")
    return distance


def check_code(group):
    """Instructions that decide one call by its arguments; always end in RETURN."""
    code = [(RETURN, 0, 0, group.result)]
    for rule in reversed(group.rules):
        body = [(RETURN, 0, 0, rule.result)]
        for condition in reversed(rule.conditions):
            tests = [(JEQ, near(len(condition.values) - 1 - i), 0, value) for i, value in enumerate(condition.values)]
            tests[-1] = (JEQ, 0, near(len(body)), condition.values[-1])
            load = [(LOAD, 0, 0, AT_ARGS + 8 * condition.arg)]
            mask = [(AND, 0, 0, condition.mask)] if condition.mask != 0xFFFFFFFF else []
            body = load + mask + tests + body
        code = body + code
    return code


def secret_code(group):
    """As check_code, for a call that passes when arguments 4 and 5 hold the secret. The blanks are None."""
    code = [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, group.result)]
    for word in reversed(range(4)):
        code = [(LOAD, 0, 0, AT_ARGS + 8 * 4 + 4 * word), (JEQ, 0, len(code) - 1, None)] + code
    return code


def tree_code(ranges):
    """ranges: [(first number, instructions)] in order, the first from 0, the last without end."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    low, high = tree_code(ranges[:middle]), tree_code(ranges[middle:])
    if len(low) <= 255:
        return [(JGE, len(low), 0, ranges[middle][0])] + low + high
    return [(JGE, 0, 1, ranges[middle][0]), (JUMP, 0, 0, len(low))] + low + high


def compile_filter(groups, table, audit_arch, template=False):
    """Returns the program for one architecture as [(code, jt, jf, k)]."""
    no_such_call = [(RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    by_number = {}
    for group in groups:
        if template and group.secret:
            code = secret_code(group)
        else:
            code = check_code(group) if group.checks else [(RETURN, 0, 0, group.result)]
        by_number.update({table[call]: code for call in group.calls if call in table})
    ranges = []
    for number in range(max(by_number) + 2):  # the last is above the newest: no such call, x32 included
        code = by_number.get(number, no_such_call)
        if not ranges or ranges[-1][1] != code:
            ranges.append((number, code))
    program = [(LOAD, 0, 0, AT_ARCH), (JEQ, 1, 0, audit_arch), (RETURN, 0, 0, KILL_PROCESS), (LOAD, 0, 0, AT_NUMBER)]
    program += tree_code(ranges)
    verify(program)
    return program


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
