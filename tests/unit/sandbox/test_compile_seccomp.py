#!/usr/bin/env python3
"""Tests of tools/compile-seccomp.py, and of the real policy by running its programs in an interpreter of BPF."""
import errno
import importlib.util
import pathlib
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else __file__).resolve()
ROOT = ROOT.parents[3] if ROOT.is_file() else ROOT
spec = importlib.util.spec_from_file_location("compile_seccomp", ROOT / "tools/compile-seccomp.py")
tool = importlib.util.module_from_spec(spec)
sys.modules["compile_seccomp"] = tool
spec.loader.exec_module(tool)

TABLE = "read 0 63\nclone 56 220\nmknod 133 -\nsetns 308 268\n"
POLICY = """
const FLAGS 0xf0
group io
  because programs read files
  allow read
group process
  because threads but no namespaces
  check clone
    when arg0 & FLAGS in 0x10 0x20 and arg2 in 7 -> allow
    when arg1 in 5 -> EINVAL
    otherwise EPERM
group rest
  because nobody needs these
  refuse EACCES mknod setns
  secret
"""


def run(program, number, args=(), arch=0xC000003E):
    """Returns the filter's answer and the set of offsets it loaded from."""
    words = {0: number & 0xFFFFFFFF, 4: arch}
    for i, value in enumerate((*args, 0, 0, 0, 0, 0, 0)[:6]):
        words[16 + 8 * i], words[20 + 8 * i] = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    at = accumulator = 0
    loaded = set()
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == tool.LOAD:
            accumulator = words[k]
            loaded.add(k)
        elif code == tool.AND:
            accumulator &= k
        elif code == tool.JUMP:
            at += k
        elif code == tool.JEQ:
            at += if_true if accumulator == k else if_false
        elif code == tool.JGE:
            at += if_true if accumulator >= k else if_false
        else:
            assert code == tool.RETURN, code
            return k, loaded


def compiled(policy, table=TABLE, arch="x86_64", template=False):
    tables = tool.parse_syscalls(table)
    return tool.compile_filter(tool.parse_policy(policy, tables), tables[arch], tool.ARCHITECTURES[arch], template)


def error(number):
    return tool.ERRNO | number


class Compiler(unittest.TestCase):
    def refused(self, text, policy, table=TABLE):
        with self.assertRaisesRegex(tool.PolicyError, text):
            compiled(policy, table)

    def test_rules_are_tried_in_order(self):
        program = compiled(POLICY)
        self.assertEqual(run(program, 56, (0x113, 5, 7))[0], tool.ALLOW)
        self.assertEqual(run(program, 56, (0x2F, 0, 7))[0], tool.ALLOW)
        self.assertEqual(run(program, 56, (0x30, 0, 7))[0], error(errno.EPERM))
        self.assertEqual(run(program, 56, (0x10, 5, 8))[0], error(errno.EINVAL))
        self.assertEqual(run(program, 56, (0x10, 0, 8))[0], error(errno.EPERM))

    def test_upper_half_of_an_argument_is_not_looked_at(self):
        self.assertEqual(run(compiled(POLICY), 56, (0x1_0000_0010, 0, 7))[0], tool.ALLOW)

    def test_unknown_numbers_do_not_exist(self):
        for number in (1, 55, 57, 134, 309, 5000, 0x40000000, 0x40000038, 0x7FFFFFFF, 0xFFFFFFFF):
            self.assertEqual(run(compiled(POLICY), number)[0], error(errno.ENOSYS), number)

    def test_other_architectures_are_killed(self):
        for arch in (0x40000003, 0xC00000B7, 0):
            self.assertEqual(run(compiled(POLICY), 0, arch=arch)[0], tool.KILL_PROCESS)
        self.assertEqual(run(compiled(POLICY, arch="aarch64"), 63, arch=0xC00000B7)[0], tool.ALLOW)

    def test_secret_opens_only_as_a_whole(self):
        program = compiled(POLICY, template=True)
        blanks = [at for at, instruction in enumerate(program) if instruction[3] is None]
        self.assertEqual(len(blanks), 8)
        for i, at in enumerate(blanks):
            program[at] = (*program[at][:3], 0xA0 + i % 4)
        secret = (0xA1_0000_00A0, 0xA3_0000_00A2)
        self.assertEqual(run(program, 308, (1, 2, 3, 4, *secret))[0], tool.ALLOW)
        for bit in range(128):
            wrong = (secret[0] ^ (1 << bit if bit < 64 else 0), secret[1] ^ (1 << bit - 64 if bit >= 64 else 0))
            self.assertEqual(run(program, 308, (0, 0, 0, 0, *wrong))[0], error(errno.EACCES))
        self.assertEqual(run(program, 56, (0, 0, 0, 0, *secret))[0], error(errno.EPERM))

    def test_mistakes_are_refused(self):
        self.refused("unknown system call raed", POLICY.replace("read\n", "raed\n"))
        self.refused("in no group: read", POLICY.replace("  allow read\n", "  allow clone\n")
                     .replace("check clone", "check mknod").replace("mknod setns", "setns"))
        self.refused("setns is in io and in rest", POLICY.replace("allow read", "allow read setns"))
        self.refused("read is in io and in io", POLICY.replace("allow read", "allow read read"))
        self.refused("group io has no reason", POLICY.replace("  because programs read files\n", ""))
        self.refused("group io has no reason", POLICY.replace("programs read files", "-"))
        self.refused("want one new name of a group", POLICY + "group io\n")
        self.refused("mixes results", POLICY.replace("allow read", "allow read\n refuse EPERM setns"))
        self.refused("mixes results", POLICY.replace("check clone", "check clone\n check setns"))
        self.refused("decides nothing", POLICY.replace("    otherwise EPERM\n", ""))
        self.refused("decides nothing", POLICY + "group empty\n because it is a test\n")
        self.refused("unknown error EFOO", POLICY.replace("EACCES", "EFOO"))
        self.refused("unknown constant", POLICY.replace("in 7", "in SEVEN"))
        self.refused("never used: SEVEN", POLICY + "const SEVEN 7\n")
        self.refused("want a new name", POLICY + "const FLAGS 7\n")
        self.refused("outside of its mask", POLICY.replace("0x10 0x20", "0x10 0x8"))
        self.refused("does not fit 32 bits", POLICY.replace("in 7", "in 0x100000000"))
        self.refused("cannot read condition", POLICY.replace("arg2 in 7", "arg6 in 7"))
        self.refused("unknown word", POLICY + "permit setns\n")
        self.refused("no group has been started", "allow read\n" + POLICY)
        self.refused("secret is for groups that refuse", POLICY.replace("allow read", "allow read\n secret"))
        self.refused("is there twice", POLICY, TABLE + "write 0 1\n")
        self.refused("is there twice", POLICY, TABLE + "read 1 1\n")
        self.refused("want a name and 2 numbers", POLICY, TABLE + "write 1\n")


class RealPolicy(unittest.TestCase):
    def setUp(self):
        self.tables = tool.parse_syscalls((ROOT / "policy/syscalls.txt").read_text())
        self.groups = tool.parse_policy((ROOT / "policy/seccomp.txt").read_text(), self.tables)

    def programs(self, template=False):
        for arch, audit in tool.ARCHITECTURES.items():
            yield audit, self.tables[arch], tool.compile_filter(self.groups, self.tables[arch], audit, template)

    def test_each_call_gets_its_groups_answer_on_each_architecture(self):
        for audit, table, program in self.programs():
            for group in self.groups:
                for call in set(group.calls) & set(table):
                    answer, loaded = run(program, table[call], arch=audit)
                    if not group.checks:
                        self.assertEqual(answer, group.result, call)
                        # What depends on the number alone can be answered without running the filter (Linux 5.11).
                        self.assertEqual(loaded, {tool.AT_ARCH, tool.AT_NUMBER}, call)

    def test_numbers_without_a_call_do_not_exist(self):
        for audit, table, program in self.programs():
            for number in set(range(1100)) - set(table.values()):
                self.assertEqual(run(program, number, arch=audit)[0], error(errno.ENOSYS), number)
            for number in range(0x40000000, 0x40000000 + 600):  # x32
                self.assertEqual(run(program, number, arch=audit)[0], error(errno.ENOSYS), number)

    def test_rules_mean_the_same_on_each_architecture(self):
        for audit, table, program in self.programs():
            for group in (group for group in self.groups if group.checks and group.calls[0] in table):
                number = table[group.calls[0]]
                self.assertEqual(run(program, number, (0xEEEEEEEE,) * 6, audit)[0], group.result)
                for rule in group.rules:
                    self.check_rule(program, number, audit, rule)

    def check_rule(self, program, number, audit, rule):
        for condition in rule.conditions:
            for value in condition.values:
                args = [0] * 6
                for other in rule.conditions:
                    args[other.arg] = other.values[0]
                args[condition.arg] = value
                self.assertEqual(run(program, number, args, audit)[0], rule.result)

    def test_template_differs_in_the_secret_calls_only(self):
        strict = {audit: program for audit, table, program in self.programs()}
        for audit, table, program in self.programs(template=True):
            program = [(*i[:3], 0x5EC0 if i[3] is None else i[3]) for i in program]
            secret = (0, 0, 0, 0, 0x5EC0_0000_5EC0, 0x5EC0_0000_5EC0)
            opened = {call for call, number in table.items()
                      if run(program, number, secret, audit)[0] != run(strict[audit], number, secret, audit)[0]}
            self.assertEqual(opened, {"clone3", "setns", "seccomp", "prctl"})
            for number in table.values():
                self.assertEqual(run(program, number, arch=audit)[0], run(strict[audit], number, arch=audit)[0])


if __name__ == "__main__":
    unittest.main()
