"""One-shot tasks: their pass, and what each action does in slices that survive a crash"""
