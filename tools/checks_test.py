"""The checks themselves: each must find a planted fault and pass clean code."""

import contextlib
import io
import re
import unittest
from unittest import mock

import check_house
import check_layers
import check_limits
import duplicates
import tree
import x


def body(lines):
    return "{\n" + "  f();\n" * lines + "}\n"


class Limits(unittest.TestCase):
    def found(self, text):
        return [(name, check_limits.parameter_count(parameters))
                for name, parameters, _, _ in check_limits.functions(check_limits.code_only(text))]

    def test_functions_of_all_shapes(self):
        text = """
            namespace menura {
            template <class T, size_t N = (1 > 0)> [[nodiscard]] constexpr T pick(const std::array<T, N>& a, int i) { return a[i]; }
            class Pit final : public Device {
             public:
              explicit Pit(IrqLine line) : line_{line}, name_("{"), count_{1, 2} { reset(); }
              bool operator==(const Pit&) const = default;
              u8 operator()(u8 x) const noexcept(noexcept(f(x))) { return x; }
              void run() override { auto l = [&](int a, int b) { return a; }; }
             private:
              int table_[2] = {1, 2};
            };
            constexpr Row kRows[] = {{f(1), 2}, {3, 4}};
            auto Pit::later(u32 a, std::map<int, int> b, void (*c)(int, int)) -> Result<void> { if (a) { g(); } }
            }  // namespace menura
            TEST(Pit, Counts) { EXPECT_EQ('{', "}"[0]); }
            """
        self.assertEqual(self.found(text), [("pick", 2), ("Pit", 1), ("operator()", 1), ("run", 0), ("Pit::later", 3), ("TEST", 2)])

    def test_length_is_that_of_the_constructor_not_of_its_initialisers(self):
        text = "A::A() : x_{1},\n b_{2} " + body(50)
        (_, _, start, end), = check_limits.functions(text)
        self.assertEqual(text.count("\n", start, end), 52)

    def test_reports_the_long_and_the_wide(self):
        text = "int wide(int a, int b, int c, int d, int e, int f, int g) { return 1; }\nvoid longer() " + body(100)
        with mock.patch.object(check_limits.tree, "ROOT", FakeRoot({"src/base/a.cpp": text})):
            problems = check_limits.check_file("src/base/a.cpp", {}, set())
        self.assertEqual([re.sub(r" has.*", "", problem) for problem in problems],
                         ["src/base/a.cpp:1: wide", "src/base/a.cpp:2: longer"])


class FakeRoot:
    """Stands for tree.ROOT: `ROOT / name` gives an object with the text of that file."""

    def __init__(self, files):
        self.files_ = files

    def __truediv__(self, name):
        return mock.Mock(read_text=lambda **_: self.files_[name], is_file=lambda: name in self.files_)


class Layers(unittest.TestCase):
    def problems(self, doors, path, text, files=()):
        root = FakeRoot({path: text, **{name: "" for name in files}})
        tree.reachable.cache_clear()
        with mock.patch.object(tree, "doors", lambda: doors), mock.patch.object(tree, "ROOT", root), \
                mock.patch.object(tree, "SRC", FakeRoot({name.removeprefix("src/"): "" for name in files})):
            result = check_layers.check_file(path) + check_layers.circles()
        tree.reachable.cache_clear()
        return result

    def test_doors_are_transitive_and_one_way(self):
        doors = {"base": [], "io": ["base"], "block": ["io"]}
        files = ["src/base/a.h", "src/block/b.h"]
        self.assertEqual(self.problems(doors, "src/block/x.cpp", '#include "base/a.h"\n', files), [])
        self.assertEqual(self.problems(doors, "src/base/x.cpp", '\n#include "block/b.h"\n', files),
                         ['src/base/x.cpp:2: base has no door to block ("block/b.h")'])

    def test_circles_and_unlisted_rooms(self):
        circle = self.problems({"a": ["b"], "b": ["a"]}, "src/a/x.cpp", "")
        self.assertEqual(circle, ["layers.txt: circle a -> b -> a"])
        self.assertIn("lies in no room", self.problems({"a": []}, "src/z/x.cpp", "")[0])


class House(unittest.TestCase):
    def rules(self, path, text):
        report = check_house.Report()
        check_house.check_text(path, text, check_house.own_paths(), report)
        check_house.check_code(path, text, report)
        return [re.search(r"\[([\w-]+)\]$", problem)[1] for problem in report.problems]

    def test_finds_each_fault(self):
        self.assertEqual(self.rules("src/hw/timer/pit.cpp", "// TODO later\n"), ["bare-todo"])
        self.assertEqual(self.rules("src/hw/timer/pit.cpp", "#include <mutex>\n"), ["banned-include"])
        self.assertEqual(self.rules("src/hw/timer/pit.cpp", "void f() { throw 1; }\n"), ["banned-call"])
        self.assertEqual(self.rules("src/memory/ram.cpp", "auto t = std::chrono::steady_clock::now();\n"), ["banned-call"])
        self.assertEqual(self.rules("src/memory/ram.cpp", "auto* p = new Page();\n"), ["banned-call"])
        self.assertEqual(self.rules("src/memory/ram.cpp", "void f() { std::abort(); }\n"), ["banned-call"])
        self.assertEqual(self.rules("src/memory/ram.cpp", "void f() { exit(1); }\n"), ["banned-call"])
        self.assertEqual(self.rules("src/memory/ram.cpp", "// FILL IN\n"), ["skeleton"])
        self.assertEqual(self.rules("src/memory/memory_util.h", "// x\n"), ["banned-name"])
        self.assertEqual(self.rules("src/memory/ram.h", "// x\nclass RamManager {};\n"), ["banned-name"])
        self.assertEqual(self.rules("src/memory/ram.h", "// x\n#define SIZE 3\n"), ["macro"])
        self.assertEqual(self.rules("src/memory/ram.h", "#pragma once\n"), ["header-start"])
        self.assertEqual(self.rules("src/memory/ram.cpp", f"// see {tree.ROOT}/notes\n"), ["machine-path"])

    def test_passes_what_is_allowed(self):
        self.assertEqual(self.rules("src/hw/ide/ata_disk.cpp", "void f() { abort(3); vcpu.exit(1); }\nvoid exit(Exit e);\n"), [])
        self.assertEqual(self.rules("src/memory/ram.cpp", "auto p = std::unique_ptr<Page>(new Page(1));\n"), [])
        self.assertEqual(self.rules("src/hw/timer/pit.cpp", "// TODO(#2) later\n// new Page(); mutex\n"), [])
        self.assertEqual(self.rules("src/hw/timer/pit.cpp", "consteval int f() { throw 1; }\n"), [])
        self.assertEqual(self.rules("src/event/clock.cpp", "auto t = std::chrono::steady_clock::now();\n"), [])
        self.assertEqual(self.rules("src/memory/ram.cpp", "#define ROW(a) a\n#undef ROW\nstruct Command {};\n"), [])
        self.assertEqual(self.rules("src/hw/timer/pit_test.cpp", "#include <mutex>\n"), [])


class Duplicates(unittest.TestCase):
    COPY = """
        int {0}(int {1}) {{
          int {2} = 0;
          for (int i = 0; i < {1}; i++) {{
            if (i % 3 == 0) {2} += i * 2;
            if (i % 5 == 0) {2} -= f(i, {2});
            while ({2} > 100) {2} = {2} / 2 + g({2});
          }}
          if ({2} < 0) return -{2};
          return {2} + {1};
        }}
        """

    def test_finds_a_copy_with_other_names(self):
        files = {"src/a.cpp": self.COPY.format("one", "n", "sum"), "src/b.cpp": self.COPY.format("two", "count", "x")}
        with mock.patch.object(tree, "ROOT", FakeRoot(files)), mock.patch.object(tree, "sources", lambda *_: list(files)):
            self.assertEqual(len(duplicates.find()), 1)

    def test_lists_of_members_are_no_copies(self):
        members = "".join(f'  v.field("m{i}", m{i});\n' for i in range(20))
        files = {f"src/{name}.cpp": f"void {name}::describe(StateVisitor& v) {{\n{members}}}\n" for name in "AB"}
        with mock.patch.object(tree, "ROOT", FakeRoot(files)), mock.patch.object(tree, "sources", lambda *_: list(files)):
            self.assertEqual(duplicates.find(), [])


class Help(unittest.TestCase):
    def said(self, *words):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(x.main(list(words)), 0)
        return out.getvalue()

    def test_every_command_explains_itself_and_does_nothing_else(self):
        for usage, run, _ in x.COMMANDS:
            name = usage.split()[0]
            with self.subTest(name):
                text = self.said(name, "--help")
                self.assertTrue(text.startswith(f"usage: ./x {usage}\n\n"))
                self.assertGreater(len(text), len(usage) + 60)
                self.assertEqual(self.said("help", name), text)

    def test_the_list_has_every_command(self):
        for words in ([], ["help"], ["--help"]):
            text = self.said(*words)
            for usage, _, line in x.COMMANDS:
                self.assertIn(usage, text)

    def test_a_wrong_name_is_answered_with_the_near_one(self):
        with self.assertRaisesRegex(SystemExit, "did you mean test"):
            x.main(["tset"])


if __name__ == "__main__":
    unittest.main()
