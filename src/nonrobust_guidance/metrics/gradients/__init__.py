"""What gradients of classifiers do over noise levels and along chains."""
