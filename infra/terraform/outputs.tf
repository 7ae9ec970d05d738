output "store" {
  description = "What VAE_STORE is to be."
  value       = "s3://${aws_s3_bucket.store.id}/${var.prefix}"
}

output "policy_arn" {
  description = "The policy to attach to the role or user of the cluster's nodes."
  value       = aws_iam_policy.store.arn
}
