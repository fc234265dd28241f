"""What was looked at, and what was found."""


class Report:
    def __init__(self):
        self.passed, self.failed = 0, []

    def check(self, what, problems):
        """Notes one check: it passed when there are no problems."""
        problems = list(problems)
        if problems:
            self.failed.append(what)
            print(f"FAILED  {what}", flush=True)
            for problem in problems:
                print(f"        {problem}", flush=True)
        else:
            self.passed += 1
            print(f"ok      {what}", flush=True)

    def note(self, line):
        print(f"        {line}", flush=True)

    def close(self):
        print(f"\n{self.passed} passed, {len(self.failed)} failed")
        return 1 if self.failed else 0
